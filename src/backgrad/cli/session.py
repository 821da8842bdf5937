"""What every evaluating verb does around its work: data and plan, progress, Ctrl-C at a safe moment."""

import contextlib
import dataclasses
import time
from collections.abc import Callable, Iterator
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

from ..errors import InputError
from ..evaluation.plan import Plan, Rows
from ..evaluation.words import Data, Options, make_plan, open_data, resolve
from .interrupt import deferred_interrupt
from .output import on_terminal


@dataclasses.dataclass(frozen=True)
class Session:
    """Who is attacked, how, and on which rows.

    Args:
        data: the data set.
        plan: the attack.
        options: what was asked for.
        splits: the rows of every split.
        seed: of the run.
        train: the number of training rows.
        validation: the number of validation rows.
        official_test: whether the test rows are the source's own.
    """

    data: Data
    plan: Plan
    options: Options
    splits: list[Rows]
    seed: int
    train: int
    validation: int
    official_test: bool = False


def open_session(given: dict[str, Any], *, only_classes: str | None = None, **fixed: Any) -> Session:
    """Turn a command's shared options into a session, or raise `InputError` before any work is done.

    Args:
        given: the options of the groups in `backgrad.cli.options`, by name.
        only_classes: why responses will not do, for `open_data`; such verbs have no option --task.
        **fixed: settings of `Options` that the verb decides itself.
    """
    enable_float64()
    data = open_data(
        given["dataset"],
        target=given["target"],
        task=None if given.get("task") is None else str(given["task"]),
        download=given["download"],
        only_classes=only_classes,
    )
    names = {field.name for field in dataclasses.fields(Options)}
    words: dict[str, Any] = {name: value for name, value in {**given, **fixed}.items() if name in names}
    # Choices become plain words: they are printed and written.
    words = {name: str(value) if isinstance(value, str) else value for name, value in words.items()}
    options = resolve(Options(**words), data.dataset)
    plan = make_plan(options, data.dataset)
    check_points(options.points, options.start, given["train"], given["validation"])
    splits = data.splits(
        train=given["train"],
        validation=given["validation"],
        seed=given["seed"],
        count=given["splits"],
        surrogate=not plan.threat.knowledge.knows_rows,
        official=given["official_test"],
    )
    names = ("seed", "train", "validation", "official_test")
    return Session(data, plan, options, splits, *(given[name] for name in names))


def print_scale(console: Console, session: Session) -> None:
    """Say in which unit the errors of a regression are."""
    if session.data.response_range is not None:
        low, high = session.data.response_range
        console.print(
            f"Errors are of responses scaled to [0, 1], from {low:g} to {high:g}: times {(high - low) ** 2:g} they are "
            "in the unit of the responses, squared.",
            highlight=False,
        )


def check_points(points: int, start: str, train: int, validation: int) -> None:
    """Raise where there are more points than rows for them to start from."""
    available = train if start == "train" else validation
    if points > available:
        raise InputError(
            f"--points {points} is more than the {available} {start} rows that points start from: "
            f"ask for at most {available}, or raise --{start}."
        )


def enable_float64() -> None:
    """Let JAX compute in float64: hypergradients are checked against finite differences, which takes it."""
    import jax

    jax.config.update("jax_enable_x64", True)


def parse_fractions(text: str) -> list[float]:
    """Return the numbers in a list such as '0,0.01,0.05'.

    Raises:
        InputError: words of another form, or a number outside [0, 1).
    """
    try:
        found = [float(part) for part in text.split(",")]
    except ValueError:
        raise InputError(f"--fractions must be numbers and commas, such as 0,0.05,0.1; got {text!r}.") from None
    outside = [fraction for fraction in found if not 0 <= fraction < 1]
    if outside:
        raise InputError(f"--fractions must lie in [0, 1); got {outside[0]:g}.")
    return sorted(set(found))


@contextlib.contextmanager
def watch(console: Console, what: str) -> Iterator[Callable[[float], None]]:
    """Show progress: a bar with the time left on a terminal, a line at every tenth elsewhere.

    Args:
        console: where to.
        what: is being done.

    Yields:
        A function to tell the share of the work done, 0 … 1; it raises KeyboardInterrupt after Ctrl-C.
    """
    columns = (TextColumn("{task.description}"), BarColumn(), TimeElapsedColumn(), TextColumn("left"))
    bar = Progress(*columns, TimeRemainingColumn(), console=console, transient=True)
    begin, told = time.perf_counter(), 0
    with on_terminal(bar, console), deferred_interrupt() as check_interrupt:
        task = bar.add_task(what, total=1.0)

        def advance(share: float) -> None:
            nonlocal told
            check_interrupt()
            bar.update(task, completed=share)
            tenth = int(10 * share + 1e-9)
            if tenth > told and not console.is_terminal:
                seconds = time.perf_counter() - begin
                console.print(f"{what}: {10 * tenth} % after {seconds:.0f} s", soft_wrap=True)
            told = max(tenth, told)

        yield advance
        check_interrupt()
