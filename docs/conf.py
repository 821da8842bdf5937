"""How the documentation is built: `make docs`."""

import re

from backgrad._version import __version__

project = "backgrad"
copyright = "the backgrad authors"
version = release = __version__
extensions = ["myst_parser", "sphinx.ext.autodoc", "sphinx.ext.napoleon"]
source_suffix = {".md": "markdown"}
exclude_patterns = ["results/*.md"]
default_role = "py:obj"
autodoc_default_options = {"members": True, "member-order": "bysource"}
myst_heading_anchors = 3
html_theme = "furo"
html_title = f"backgrad {__version__}"


def _escape(app, what, name, thing, options, lines):
    """Escape what docstrings mean as it stands, outside of code: |x|, classes_, letters that would number lists."""
    for i, line in enumerate(lines):
        if line.lstrip().startswith(".. "):
            continue  # a directive of napoleon's, such as that of an attribute classes_
        parts = re.split(r"(`+[^`]*`+)", line)
        parts[::2] = [re.sub(r"\||(?<=\w)_(?!\w)", r"\\\g<0>", part) for part in parts[::2]]
        lines[i] = re.sub(r"^(\s*)(?=\w\.(\s|$))", r"\1\\", "".join(parts))


def _shorten(app, what, name, thing, options, signature, returns):
    """Leave out the modules of JAX's arrays and what converters say of types, and write functions as they were."""
    names = r"\b(jaxlib\._jax|jaxtyping)\.|: ~?([\w.]+\.)?_Setting\b"
    texts = (text and re.sub(names, "", text) for text in (signature, returns))
    return tuple(text and re.sub(r"<function \S*<lambda>>", "lambda share: None", text) for text in texts)


def _skip(app, what, name, thing, skip, options):
    """Leave out what libraries write: fields of named tuples, and scikit-learn's requests of metadata."""
    doc = getattr(thing, "__doc__", None) or ""
    return True if doc.startswith("Alias for field") or re.match(r"set_\w+_request$", name) else None


def setup(app):
    """Name these to Sphinx."""
    app.connect("autodoc-process-docstring", _escape, priority=900)  # after napoleon
    app.connect("autodoc-process-signature", _shorten)
    app.connect("autodoc-skip-member", _skip)
