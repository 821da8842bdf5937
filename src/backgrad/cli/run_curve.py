"""Measuring a security evaluation curve: progress, the table, the files."""

import csv
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from ..errors import InputError
from ..evaluation.security_curve import CURVES, BreakingPoint, SecurityCurve, breaking_point, budget_of, security_curve
from ..evaluation.words import make_victims
from ..spelling import things
from ..threat.knowledge import Member
from .output import OutputFolder, figure_writer, print_health
from .record import as_json, describe_session, versions
from .session import Session, check_points, open_session, parse_fractions, print_scale, watch


def run_curve(
    given: dict[str, Any],
    *,
    fractions: str,
    victim: str | None,
    scorers: str | None,
    limit: float | None,
    criterion: str,
    out: Path,
) -> None:
    """Check the input, measure the curve, print it, and write the files."""
    shares = parse_fractions(fractions)
    budgets = [budget_of(share, given["train"]) for share in shares]
    session = open_session(given, points=max(budgets))
    check_points(max(budgets), session.options.start, session.train, session.validation)
    name, judged = _victim(victim, session)
    names = [] if scorers is None else [part.strip() for part in scorers.split(",")]
    _check_limit(limit, criterion, session)
    console = Console(stderr=True)
    common: dict[str, Any] = {"victim": judged, "seed": session.seed}
    with OutputFolder(out) as folder:
        with watch(console, "curve") as progress:
            found = security_curve(
                session.plan,
                session.data.table,
                session.splits,
                fractions=shares,
                scorers={one: one for one in names},
                progress=progress,
                **common,
            )
        broken = None
        if limit is not None:
            with watch(console, "breaking point") as progress:
                broken = breaking_point(
                    session.plan,
                    session.data.table,
                    session.splits,
                    limit=limit,
                    at_most=max(shares),
                    criterion=criterion,
                    progress=progress,
                    **common,
                )
        folder.prepare_json("curve.json", _record(session, name, found, broken))
        folder.prepare("curve.csv", lambda path: _write_csv(path, found))
        draw = figure_writer(lambda: _draw(found, limit, _attacked(session, name)))
        folder.prepare("curve.png", draw)
        folder.prepare("curve.pdf", draw)
        folder.commit()
    _print(Console(), session, name, found, broken, out)


def _victim(name: str | None, session: Session) -> tuple[str, Any]:
    """Return who is judged: what is attacked, unless somebody else is named."""
    if name is None:
        return str(session.options.learner), Member(session.plan.learner, session.plan.schedule)
    found = make_victims(name, session.data.dataset)
    if len(found) != 1:
        raise InputError(f"--victim takes one learner or scikit-learn class; got {name!r}: see backgrad transfer.")
    return next(iter(found.items()))


def _check_limit(limit: float | None, criterion: str, session: Session) -> None:
    """Raise where there can be no breaking point, before the curve is measured."""
    upper = criterion == "upper"
    if limit is None:
        if upper:
            raise InputError("--criterion upper says what must pass --limit: give that too, or leave it out.")
        return
    if not np.isfinite(limit):
        raise InputError(f"--limit must be a finite number; got {limit}.")
    if not 0 <= limit < 1:
        what, remedy = "a share of test rows", "20 % are 0.2"
        if session.data.response_range is not None:
            low, high = session.data.response_range
            what = "a mean squared error of responses scaled to [0, 1]"
            remedy = f"divide that of the responses themselves by {(high - low) ** 2:g}"
        raise InputError(f"--limit is {what} and must lie in [0, 1); got {limit:g}: {remedy}.")
    if upper and len(session.splits) < 3:
        raise InputError(
            f"--criterion upper needs an interval, so --splits must be 3 or more; got {len(session.splits)}."
        )


def _attacked(session: Session, victim: str) -> str | None:
    """Return the learner that points were crafted against; None where that is the victim."""
    attacked = str(session.options.learner)
    return None if victim == attacked else attacked


def _draw(curve: SecurityCurve, limit: float | None, attacked: str | None) -> Any:
    from ..evaluation.displays import SecurityCurveDisplay

    names = {name: name for name in reversed(CURVES)}
    if attacked is not None:
        names["poisoned"] = f"points against {attacked}"
    return SecurityCurveDisplay.from_result(curve, limit=limit).plot(names=names).figure_


def _record(session: Session, victim: str, curve: SecurityCurve, broken: BreakingPoint | None) -> dict[str, Any]:
    """Return the content of curve.json."""
    scores = {
        score: {
            name: {
                "mean": values.mean(axis=1).tolist(),
                "interval": [ends and list(ends) for ends in curve.interval(score, name)],
                "splits": values.tolist(),
            }
            for name, values in curves.items()
        }
        for score, curves in curve.scores.items()
    }
    record = {
        **describe_session(session),
        "victim": victim,
        "points_against": session.options.learner,
        "fractions": curve.fractions.tolist(),
        "budgets": curve.budgets.tolist(),
        "scores": scores,
        "health": {str(budget): verdicts for budget, verdicts in curve.health.items()},
        "breaking_point": None if broken is None else describe_breaking_point(broken),
        "versions": versions(),
    }
    return as_json(record)


def describe_breaking_point(broken: BreakingPoint) -> dict[str, Any]:
    """Return a breaking point as plain values."""
    return {
        "limit": broken.limit,
        "fraction": broken.fraction,
        "points": broken.budget,
        "most_points": broken.most,
        "criterion": broken.criterion,
        "censored": broken.censored,
        "evaluated": {str(budget): errors.tolist() for budget, errors in broken.evaluated.items()},
        "health": {str(budget): verdicts for budget, verdicts in broken.health.items() if budget},
    }


def _write_csv(path: Path, curve: SecurityCurve) -> None:
    """Write one line a score, curve, fraction and split."""
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(["score", "curve", "fraction", "points", "split", "value"])
        for score, curves in curve.scores.items():
            for name, values in curves.items():
                for fraction, budget, row in zip(curve.fractions, curve.budgets, values, strict=True):
                    for split, value in enumerate(row):
                        writer.writerow([score, name, f"{fraction:.6g}", budget, split, repr(float(value))])


def _print(
    console: Console, session: Session, victim: str, curve: SecurityCurve, broken: BreakingPoint | None, out: Path
) -> None:
    classes = session.data.table.n_classes > 0
    kind = "test error" if classes else "mean squared error"
    splits = len(session.splits)
    attacked = _attacked(session, victim)
    against = "" if attacked is None else f" with points against {attacked}"
    title = f"{escape(session.data.dataset.name)}: {kind} of {victim}{against}, mean of {things(splits, 'split')}"
    table = Table(title=title, title_justify="left")
    for heading in ("poisoned rows", "points", "clean", "label flips", "poisoned", "95 % interval"):
        table.add_column(heading, justify="right")
    intervals = curve.interval()
    for i, (fraction, budget) in enumerate(zip(curve.fractions, curve.budgets, strict=True)):
        means = [_show(curve.scores["error"][name][i].mean(), classes) for name in CURVES]
        ends = intervals[i]
        spread = "–" if ends is None else f"{_show(ends[0], classes)} to {_show(ends[1], classes)}"
        table.add_row(f"{fraction:.1%}", str(budget), *means, spread)
    console.print(table)
    print_scale(console, session)
    for budget, verdicts in sorted({**({} if broken is None else broken.health), **curve.health}.items()):
        if budget:
            print_health(console, f"at {things(budget, 'point')}", verdicts)
    if attacked is not None:
        console.print(
            f"The attacker took {victim} for {attacked}: this says how far points carry over, and not what {victim} "
            "withstands. backgrad audit attacks it itself."
        )
    if broken is not None:
        console.print(_breaking_sentence(broken, classes))
    console.print(f"Written: {out / 'curve.json'}, .csv, .png and .pdf", soft_wrap=True, markup=False)


def _show(value: float, share: bool) -> str:
    return f"{value:.1%}" if share else f"{value:.4f}"


def _breaking_sentence(broken: BreakingPoint, classes: bool) -> str:
    """Say how few rows break the limit, or that none tried did."""
    what = "mean error" if broken.criterion == "mean" else "upper end of the error's interval"
    limit = _show(broken.limit, classes)
    if broken.fraction is None or broken.budget is None:
        most = things(broken.most, "point")
        return (
            f"The {what} stayed within {limit} up to {most}, the most that were tried. A sharper attack may break it."
        )
    points = things(broken.budget, "point")
    return f"The {what} passes {limit} at {points} ({broken.fraction:.1%} of the training rows)."
