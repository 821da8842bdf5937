"""Writing results: all files of a run appear together, or none does."""

import contextlib
import json
import os
import shutil
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

from ..errors import InputError
from ..spelling import things
from ..studies.claims import host, is_gone


class OutputFolder:
    """A folder that receives a run's files at its end.

    Whether it can be written is found out before work starts. Until `commit`, nothing is visible in it; a folder
    that this run had to create and did not fill is removed again.

    Args:
        path: the folder; created where missing, and files of the same names replaced.

    Raises:
        InputError: the folder cannot be created or written.
    """

    def __init__(self, path: Path):
        """Create the folder and a hidden one inside it, where files are prepared."""
        self.path = path
        self._created: list[Path] = []
        try:
            self._staging = self._open()
        except OSError as error:
            self._remove_created()
            reason = error.strerror or str(error)
            raise InputError(
                f"--out must be a folder that can be written, but {path} is not ({reason}): choose another."
            ) from None

    def _open(self, tries: int = 10) -> Path:
        """Create the folder and the hidden one, though other runs create and remove the same folder meanwhile."""
        try:
            for parent in [*reversed(self.path.parents), self.path]:
                if not parent.exists():
                    parent.mkdir(exist_ok=True)
                    self._created = [*dict.fromkeys([*self._created, parent])]
            self._sweep()
            return Path(tempfile.mkdtemp(prefix=f".backgrad-{host()}-{os.getpid()}-", dir=self.path))
        except FileNotFoundError:
            if not tries:
                raise
            return self._open(tries - 1)

    def __enter__(self) -> "OutputFolder":
        return self

    def __exit__(self, *_: object) -> None:
        shutil.rmtree(self._staging, ignore_errors=True)
        self._remove_created()

    def _sweep(self) -> None:
        """Remove the hidden folders of runs on this machine that were killed."""
        for folder in self.path.glob(f".backgrad-{host()}-*-*"):
            pid = folder.name.split("-")[2]
            if pid.isdecimal() and is_gone(int(pid)):
                shutil.rmtree(folder, ignore_errors=True)

    def _remove_created(self) -> None:
        for folder in reversed(self._created):
            try:
                folder.rmdir()
            except OSError:  # it holds files now
                return

    def prepare(self, name: str, write: Callable[[Path], Any]) -> None:
        """Let `write` produce the file called `name` out of sight."""
        try:
            write(self._staging / name)
        except OSError as error:  # the disk is full, say
            raise self._no_room(name, error) from None

    def _no_room(self, name: str, error: OSError) -> InputError:
        return InputError(
            f"--out must have room for results, but {name or 'they'} cannot be written to {self.path} "
            f"({error.strerror or error}): free some, or choose another folder."
        )

    def prepare_in(self, write: Callable[[Path], Any]) -> None:
        """Let `write` produce files of its own naming out of sight, in the folder that it is given."""
        try:
            self.prepare("", write)
        except InputError as error:  # which may speak of the hidden folder
            raise InputError(str(error).replace(str(self._staging), str(self.path))) from None

    def prepare_json(self, name: str, content: Any) -> None:
        """Prepare a JSON file; numbers that are not finite are an error, since JSON has none."""
        text = json.dumps(content, indent=2, allow_nan=False) + "\n"
        self.prepare(name, lambda path: path.write_text(text, encoding="utf-8"))

    def commit(self) -> None:
        """Move all prepared files into place."""
        files = sorted(self._staging.iterdir())
        try:
            for file in files:
                with file.open("rb") as handle:
                    os.fsync(handle.fileno())
            for file in files:
                os.replace(file, self.path / file.name)
        except OSError as error:
            raise self._no_room("", error) from None


def write_log(text: str) -> str:
    """Write the log of an internal failure, and say where it is."""
    try:
        with tempfile.NamedTemporaryFile("w", prefix="backgrad-", suffix=".log", delete=False) as log:
            log.write(text)
    except OSError as error:  # the disk may be what failed
        last = text.strip().splitlines()[-1]
        return f"No log could be written ({error.strerror or error}); its last line would be: {last}"
    return f"The details are in {log.name}; please report them."


@contextlib.contextmanager
def readers_may_leave() -> Iterator[None]:
    """Print to whoever reads standard output, who may stop before the end as `head` does, without another exit code."""
    try:
        yield
        sys.stdout.flush()
    except (BrokenPipeError, SystemExit):  # rich turns the one into the other, of the code 1
        with open(os.devnull, "wb") as nothing:
            os.dup2(nothing.fileno(), sys.stdout.fileno())


def on_terminal(bar: Any, console: Any) -> Any:
    """Return a progress bar to enter, or nothing where there is no terminal: older versions of rich print there."""
    return bar if console.is_terminal else contextlib.nullcontext()


def print_health(console: Any, what: str, verdicts: Sequence[str]) -> None:
    """Say of how many splits the attack did not work; nothing where it worked on all.

    Args:
        console: where to.
        what: the attacks are, "at 20 points".
        verdicts: of `AttackHealth`, one a split.
    """
    bad = [verdict for verdict in verdicts if verdict != "worked"]
    if bad:
        words = ", ".join(f"{bad.count(verdict)} {verdict}" for verdict in dict.fromkeys(bad))
        console.print(f"Attack health {what}: {words} of {things(len(verdicts), 'split')}.")


def figure_writer(draw: Callable[[], Any]) -> Callable[[Path], None]:
    """Return a function that saves a figure under a path, in the format of its suffix.

    Args:
        draw: returns the matplotlib figure; called once for each path.
    """

    def write(path: Path) -> None:
        import matplotlib

        matplotlib.use("Agg")
        import matplotlib.pyplot as plt

        figure = draw()
        figure.savefig(path, dpi=200)
        plt.close(figure)

    return write
