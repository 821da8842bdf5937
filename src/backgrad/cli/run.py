"""Running an attack over splits: progress, the table at the end, the files."""

import dataclasses
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn
from rich.table import Table

from ..devices import row_mesh
from ..errors import InputError
from ..evaluation.poisoning import ERRORS, SplitOutcome, evaluate_split, summarise
from ..evaluation.security_curve import budget_of
from ..evaluation.words import make_victims
from ..spelling import things
from .interrupt import deferred_interrupt
from .output import OutputFolder, on_terminal, print_health
from .record import arrays, describe_run
from .session import Session, open_session, parse_fractions, print_scale


def run_attack(
    given: dict[str, Any],
    *,
    points: int | None,
    fractions: str | None,
    victims: str | None,
    devices: str | None,
    out: Path,
) -> None:
    """Check the input, attack every split at every budget, print the table and write the files."""
    budgets = asked_budgets(points, fractions, given["train"])
    session = spread(open_session(given, points=budgets[-1]), devices)
    others = make_victims(victims, session.data.dataset)
    console = Console(stderr=True)
    with OutputFolder(out) as folder:
        found = {budget: _attack_all(session, budget, others, console) for budget in budgets}
        outcomes = found[budgets[-1]]
        folder.prepare_json("attack.json", describe_run(session, outcomes, found if fractions else None))
        # A plain float64 file: NumPy writes it without time stamps, so equal runs give equal bytes.
        folder.prepare("points.npz", lambda path: np.savez_compressed(path, allow_pickle=False, **arrays(outcomes)))
        folder.commit()
    _print(Console(), session, found, out)


def spread(session: Session, devices: str | None) -> Session:
    """Return a session whose attack uses so many devices."""
    number = int(devices) if devices is not None and devices.isdecimal() else devices
    row_mesh(number)  # raises now, not after minutes of work
    return dataclasses.replace(session, plan=dataclasses.replace(session.plan, devices=number))


def asked_budgets(points: int | None, fractions: str | None, train: int) -> list[int]:
    """Return the numbers of points to attack with, increasing."""
    if fractions is None:
        return [20 if points is None else points]
    if points is not None:
        raise InputError("--points and --fractions both set the budget: give one of them.")
    return sorted({budget_of(fraction, train) for fraction in parse_fractions(fractions)})


def _attack_all(session: Session, budget: int, victims: dict[str, Any], console: Console) -> list[SplitOutcome]:
    """Attack split after split, showing progress on a terminal and one line a split elsewhere."""
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        TimeElapsedColumn(),
        TextColumn("left"),
        TimeRemainingColumn(),
    )
    outcomes, rows = [], session.splits
    bar = Progress(*columns, console=console, transient=True)
    with on_terminal(bar, console), deferred_interrupt() as check_interrupt:
        task = bar.add_task("attacking", total=len(rows))
        for k in range(len(rows)):
            bar.update(task, description=f"split {k + 1} of {len(rows)}")

            def advance(share: float, k: int = k) -> None:
                check_interrupt()
                bar.update(task, completed=k + share)

            outcomes.append(_attack_one(session, budget, k, victims, advance))
            check_interrupt()
            if not console.is_terminal:
                clean, flips, poisoned = (_show(outcomes[-1].errors[name], session) for name in ERRORS)
                console.print(
                    f"split {k + 1} of {len(rows)}: clean {clean}, label flips {flips}, poisoned {poisoned}",
                    soft_wrap=True,
                )
    return outcomes


def _attack_one(
    session: Session, budget: int, k: int, victims: dict[str, Any], progress: Callable[[float], None]
) -> SplitOutcome:
    table = session.data.table
    return evaluate_split(
        session.plan.with_budget(budget),
        table.x,
        table.y,
        session.splits[k],
        n_classes=table.n_classes,
        seed=(session.seed, k),
        victims=victims,
        progress=progress,
    )


def _show(value: float, session: Session) -> str:
    """Write an error: a share of rows, or the mean squared error of scaled responses."""
    return f"{value:.1%}" if session.data.table.n_classes else f"{value:.4f}"


def _print(console: Console, session: Session, found: dict[int, list[SplitOutcome]], out: Path) -> None:
    budget, outcomes = list(found.items())[-1]
    total = session.train + budget
    kind = "test error" if session.data.table.n_classes else "mean squared error"
    reference = "scikit-learn's " + ("LR" if session.data.table.n_classes else "Ridge")
    title = f"{escape(session.data.dataset.name)}: {kind} of {type(session.plan.learner).__name__}"
    table = Table(title=title, title_justify="left")
    table.add_column("trained on")
    table.add_column(f"mean of {len(outcomes)}", justify="right")
    table.add_column("95 % interval", justify="right")
    table.add_column(reference, justify="right")
    names = ("clean rows", f"+ {things(budget, 'label flip')}", f"+ {things(budget, 'poisoning point')}")
    for name, (key, mean, interval) in zip(names, summarise(outcomes), strict=True):
        spread = "–" if interval is None else f"{_show(interval[0], session)} to {_show(interval[1], session)}"
        other = float(np.mean([outcome.sklearn_errors[key] for outcome in outcomes]))
        table.add_row(name, _show(mean, session), spread, _show(other, session))
    console.print(table)
    print_scale(console, session)
    console.print(f"Poison fraction: {budget} of {total} training rows ({budget / total:.1%}).")
    _print_curve(console, session, found)
    _print_victims(console, session, outcomes)
    _print_goal(console, outcomes)
    _print_health(console, outcomes)
    console.print(f"Written: {out / 'attack.json'} and {out / 'points.npz'}", soft_wrap=True, markup=False)


def _print_curve(console: Console, session: Session, found: dict[int, list[SplitOutcome]]) -> None:
    """Say what smaller budgets did, where there were several."""
    for budget, outcomes in list(found.items())[:-1]:
        clean, flips, poisoned = (_show(mean, session) for _, mean, _ in summarise(outcomes))
        share, points = budget / (session.train + budget), things(budget, "point")
        console.print(f"At {share:.1%} ({points}): clean {clean}, label flips {flips}, poisoned {poisoned}.")
        print_health(console, f"at {points}", [outcome.attack.health.verdict for outcome in outcomes])


def _print_victims(console: Console, session: Session, outcomes: list[SplitOutcome]) -> None:
    """Print the errors of further victims, where there are any."""
    names = list(outcomes[0].victims)
    if not names:
        return
    table = Table(title="Other victims of the same points", title_justify="left")
    for heading in ("victim", "clean", "label flips", "poisoned"):
        table.add_column(heading, justify="left" if heading == "victim" else "right")
    for name in names:
        means = (float(np.mean([outcome.victims[name][error] for outcome in outcomes])) for error in ERRORS)
        table.add_row(name, *(_show(mean, session) for mean in means))
    console.print(table)


def _print_goal(console: Console, outcomes: list[SplitOutcome]) -> None:
    """Say how many attacked test rows got the attacker's label, where the goal names one."""
    rates = [outcome.goal_rates for outcome in outcomes if outcome.goal_rates]
    if rates:
        clean, flips, poisoned = (np.mean([r[name] for r in rates]) for name in ERRORS)
        others = f"clean {clean:.1%}, label flips {flips:.1%}"
        console.print(f"Attacked test rows with the attacker's label: {poisoned:.1%} ({others}).")


def _print_health(console: Console, outcomes: list[SplitOutcome]) -> None:
    """Say whether the attack can be believed; a failed attack is never shown as a robust model."""
    diverged, of = sum(outcome.diverged for outcome in outcomes), f"of {things(len(outcomes), 'split')}"
    if diverged:
        console.print(f"The poisoned victim's training diverged on {diverged} {of}: lower the step size.")
    notes = {
        ("failed", None): "failed. That is no evidence of a robust model",
        ("suspect", "more"): "suspect. The damage is real, but a sharper attack may do more",
        ("suspect", "flips"): "suspect, and did no more than label flips. That is no evidence of a robust model",
        ("suspect", "none"): "suspect, and did no damage. That is no evidence of a robust model",
    }
    for (verdict, harm), note in notes.items():
        hit = [
            (k, o.attack.health)
            for k, o in enumerate(outcomes)
            if o.attack.health.verdict == verdict and harm in (None, _harm(o))
        ]
        if hit:
            console.print(f"Attack health: {len(hit)} {of} {note}.")
            console.print(f"  Split {hit[0][0] + 1}: {hit[0][1].sentence}", markup=False)
    verdicts = {outcome.attack.health.verdict for outcome in outcomes}
    if verdicts == {"worked"}:
        checked = all(outcome.attack.health.gradient_error_last is not None for outcome in outcomes)
        evidence = "gradients checked, objective rose" if checked else "objective rose; no gradient was checked"
        where = f"all {len(outcomes)} splits" if len(outcomes) > 1 else "the one split"
        console.print(f"Attack health: worked on {where} ({evidence}).")
    if "nothing to do" in verdicts:
        console.print("Attack health: there were no points to optimise.")


def _harm(outcome: SplitOutcome) -> str:
    """Tell whether points raised what the attacker is after, the error or a share of rows, by more than label flips."""
    found = outcome.goal_rates or outcome.errors
    clean, flips, poisoned = (found[name] for name in ERRORS)
    return "none" if poisoned <= clean else "flips" if poisoned <= flips else "more"
