"""How the documentation is built: `make docs`."""

from backgrad._version import __version__

project = "backgrad"
copyright = "the backgrad authors"
version = release = __version__
extensions = ["myst_parser"]
source_suffix = {".md": "markdown"}
exclude_patterns = ["results/*.md"]
myst_heading_anchors = 3
html_theme = "furo"
html_title = f"backgrad {__version__}"
