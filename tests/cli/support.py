"""Running the command line inside the tests' own process."""

import pytest
from sklearn.compose import ColumnTransformer
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from backgrad.cli import main

# Small enough for a second or two a run; every learner trains at its default step size in thirty steps or fewer.
TINY = ["--points", "4", "--train", "20", "--validation", "40", "--steps", "30", "--outer-steps", "3", "--splits", "1"]


def run(capsys, *arguments):
    """Run the command line; return its exit code and what it wrote to standard output and standard error."""
    capsys.readouterr()
    with pytest.raises(SystemExit) as caught:
        main([str(a) for a in arguments])
    written = capsys.readouterr()
    return caught.value.code, written.out, written.err


def make_by_name():
    """Return a pipeline that knows its columns by name, as frames have them and arrays do not."""
    return make_pipeline(ColumnTransformer([("scaled", StandardScaler(), ["weight"])]), LogisticRegression())
