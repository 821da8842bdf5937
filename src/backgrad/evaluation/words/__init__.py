"""From words to objects: what the command line and study files say, as data, plans and victims."""

from .data import Data, open_data
from .options import Options
from .plans import make_plan, resolve
from .victims import make_victims

__all__ = ["Data", "Options", "make_plan", "make_victims", "open_data", "resolve"]
