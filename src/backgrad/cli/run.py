"""Running an attack over splits: progress, the table at the end, the files."""

import dataclasses
from collections.abc import Callable
from pathlib import Path

import numpy as np
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn
from rich.table import Table

from ..datasets import Dataset, load, split_rows
from ..errors import InputError
from ..evaluation.poisoning import Plan, Rows, SplitOutcome, evaluate_split, summarise
from .interrupt import deferred_interrupt
from .output import OutputFolder
from .record import arrays, describe_run
from .settings import Options, make_plan


@dataclasses.dataclass(frozen=True)
class Request:
    """Which rows to use, how often, and where results go."""

    dataset: str
    train: int
    validation: int
    splits: int
    seed: int
    out: Path


def run_attack(options: Options, request: Request) -> None:
    """Check the input, attack every split, print the table and write the files."""
    data = load(request.dataset)
    plan = make_plan(options, data)
    rows = _split(data, request, options)
    console = Console(stderr=True)
    with OutputFolder(request.out) as folder:
        outcomes = _attack_all(plan, data, rows, request.seed, console)
        asked = {
            "dataset": data.name,
            "learner": options.learner,
            "strategy": options.strategy,
            "objective": options.objective,
            "adjoint": options.adjoint,
            "start": options.start,
            "seed": request.seed,
            "train": request.train,
            "validation": request.validation,
        }
        folder.prepare_json("attack.json", describe_run(plan, outcomes, asked))
        # A plain float64 file: NumPy writes it without time stamps, so equal runs give equal bytes.
        folder.prepare("points.npz", lambda path: np.savez_compressed(path, allow_pickle=False, **arrays(outcomes)))
        folder.commit()
    _print(Console(), plan, data, request, outcomes)


def _split(data: Dataset, request: Request, options: Options) -> list[Rows]:
    if request.splits < 1:
        raise InputError(f"--splits must be 1 or more; got {request.splits}.")
    available = request.train if options.start == "train" else request.validation
    if options.points > available:
        raise InputError(
            f"--points {options.points} is more than the {available} {options.start} rows that points start from: "
            f"ask for at most {available}, or raise --{options.start}."
        )
    found = [
        split_rows(
            data.n_samples,
            train=request.train,
            validation=request.validation,
            seed=request.seed,
            split=k,
            labels=data.y,
        )
        for k in range(request.splits)
    ]
    return [Rows(r.train, r.validation, r.test) for r in found]


def _attack_all(plan: Plan, data: Dataset, rows: list[Rows], seed: int, console: Console) -> list[SplitOutcome]:
    """Attack split after split, showing progress on a terminal and one line a split elsewhere."""
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        TimeElapsedColumn(),
        TextColumn("left"),
        TimeRemainingColumn(),
    )
    outcomes = []
    bar = Progress(*columns, console=console, disable=not console.is_terminal, transient=True)
    with bar, deferred_interrupt() as check_interrupt:
        task = bar.add_task("attacking", total=len(rows))
        for k, split in enumerate(rows):
            bar.update(task, description=f"split {k + 1} of {len(rows)}")

            def advance(share: float, k: int = k) -> None:
                check_interrupt()
                bar.update(task, completed=k + share)

            outcomes.append(_attack_one(plan, data, split, (seed, k), advance))
            check_interrupt()
            if not console.is_terminal:
                errors = outcomes[-1].errors
                console.print(
                    f"split {k + 1} of {len(rows)}: clean {errors['clean_error']:.1%}, label flips "
                    f"{errors['label_flip_error']:.1%}, poisoned {errors['poisoned_error']:.1%}"
                )
    return outcomes


def _attack_one(
    plan: Plan, data: Dataset, rows: Rows, seed: tuple[int, int], progress: Callable[[float], None]
) -> SplitOutcome:
    return evaluate_split(plan, data.x, data.y, rows, n_classes=data.n_classes, seed=seed, progress=progress)


def _print(console: Console, plan: Plan, data: Dataset, request: Request, outcomes: list[SplitOutcome]) -> None:
    budget = plan.threat.budget
    share = budget / (request.train + budget)
    table = Table(title=f"{data.name}: test error of {type(plan.learner).__name__}", title_justify="left")
    table.add_column("trained on")
    table.add_column(f"mean of {len(outcomes)}", justify="right")
    table.add_column("95 % interval", justify="right")
    table.add_column("scikit-learn's LR", justify="right")
    names = ("clean rows", f"+ {budget} label flips", f"+ {budget} poisoning points")
    for name, (key, mean, interval) in zip(names, summarise(outcomes), strict=True):
        spread = "–" if interval is None else f"{interval[0]:.1%} to {interval[1]:.1%}"
        reference = np.mean([outcome.sklearn_errors[key] for outcome in outcomes])
        table.add_row(name, f"{mean:.1%}", spread, f"{reference:.1%}")
    console.print(table)
    console.print(f"Poison fraction: {budget} of {request.train + budget} training rows ({share:.1%}).")
    _print_health(console, outcomes)
    console.print(f"Written: {request.out / 'attack.json'} and {request.out / 'points.npz'}", soft_wrap=True)


def _print_health(console: Console, outcomes: list[SplitOutcome]) -> None:
    """Say whether the attack can be believed; a failed attack is never shown as a robust model."""
    diverged = sum(outcome.diverged for outcome in outcomes)
    if diverged:
        console.print(
            f"The poisoned victim's training diverged on {diverged} of {len(outcomes)} splits: lower the step size."
        )
    notes = {
        "failed": "failed. That is no evidence of a robust model",
        "suspect": "suspect. The damage is real, but a sharper attack may do more",
    }
    for verdict, note in notes.items():
        hit = [(k, o.attack.health) for k, o in enumerate(outcomes) if o.attack.health.verdict == verdict]
        if hit:
            console.print(f"Attack health: {len(hit)} of {len(outcomes)} splits {note}.")
            console.print(f"  Split {hit[0][0] + 1}: {hit[0][1].sentence}")
    if all(outcome.attack.health.verdict == "worked" for outcome in outcomes):
        console.print(f"Attack health: worked on all {len(outcomes)} splits (gradients checked, objective rose).")
