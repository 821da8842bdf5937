"""Saying what an attack would cost, before it runs."""

import time
from typing import Any

import jax
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from ..evaluation.cost import CostEstimate, estimate_cost
from ..evaluation.poisoning import require_sound_plan
from ..evaluation.words import make_victims
from ..spelling import spell_seconds, things
from .run import asked_budgets, spread
from .session import Session, open_session

_WHAT = {
    "start-up": "imports and data",
    "compilation": "of every program, once a budget",
    "attack": "{hypergradients} hypergradients of {hypergradient}",
    "checks": "of schedules before, of the attacks after",
    "victims": "trained and judged; one training {training}",
}
# The attack's, where it follows no gradients.
_TRIALS = "trials of points, without hypergradients"


def run_estimate(
    given: dict[str, Any],
    *,
    points: int | None,
    fractions: str | None,
    victims: str | None,
    devices: str | None,
    begin: float,
) -> None:
    """Check the input, measure a sample of the work, and print what all of it would cost.

    Args:
        given: the options of the groups in `backgrad.cli.options`, by name.
        points: poisoning points to add.
        fractions: shares of poisoned rows instead.
        victims: further victims.
        devices: over how many the work is spread.
        begin: when the command began, by `time.perf_counter`: what it takes to start is part of the cost.
    """
    budgets = asked_budgets(points, fractions, given["train"])
    session = spread(open_session(given, points=budgets[-1]), devices)
    others = make_victims(victims, session.data.dataset)
    opened = time.perf_counter() - begin
    clean = session.data.table.samples(session.splits[0].train)
    require_sound_plan(session.plan, clean, seed=(session.seed, 0))
    jax.clear_caches()  # what that compiled is compilation, and counted as such
    found = estimate_cost(
        session.plan, session.data.table, session.splits, budgets=budgets, victims=others, seed=session.seed
    )
    _print(Console(), session, budgets, found, opened)


def _print(console: Console, session: Session, budgets: list[int], found: CostEstimate, opened: float) -> None:
    seconds = {**found.parts, "start-up": found.startup + opened}
    total = sum(seconds.values())
    facts = {
        "hypergradients": f"{found.hypergradients:,}",
        "hypergradient": spell_seconds(found.hypergradient),
        "training": spell_seconds(found.training),
    }
    what = _WHAT if found.hypergradients else {**_WHAT, "attack": _TRIALS}
    name = type(session.plan.learner).__name__
    runs = things(len(session.splits), "split")
    at = things(budgets[0], "point") if len(budgets) == 1 else f"{', '.join(map(str, budgets))} points"
    table = Table(title=f"{escape(session.data.dataset.name)}: {name}, {runs}, {at}", title_justify="left")
    table.add_column("part")
    table.add_column("time", justify="right")
    table.add_column("share", justify="right")
    table.add_column("what")
    for part, value in seconds.items():
        table.add_row(part, spell_seconds(value), f"{value / total:.0%}", what[part].format(**facts))
    console.print(table)
    longest = max(seconds, key=lambda part: seconds[part])
    console.print(f"About {spell_seconds(total)} in all, most of it {longest}.", highlight=False)
    process = "" if found.process is None else f"{size(found.process)} for the process, of which "
    console.print(f"Memory: {process}{size(found.memory)} for the largest program.", highlight=False)
    console.print(
        f"Measured in {spell_seconds(found.took)} on this machine, as busy as it is now. Nothing was written."
    )


def size(count: int) -> str:
    """Return a number of bytes in a unit that suits it."""
    for unit, length in (("GB", 1e9), ("MB", 1e6)):
        if count >= 0.5 * length:
            return f"{count / length:.1f} {unit}"
    return f"{count / 1e3:.0f} kB"
