"""The defence table of every data set, learner and budget: `python -m benchmarks.defences.table`.

One line a defence: error without an attack, under an attack that does not know the defence, under one that does, and
what was left out. Attacks take 60 steps. `--json` keeps what is done after each split, and goes on from there: defences
that it does not hold are measured and join those that it does. `--markdown` writes all that is in it as the tables of
the documentation.
"""

import argparse
import json
import pathlib
import time

import jax
import numpy as np

from backgrad.defences.catalogue import SANITISERS
from backgrad.errors import DatasetError
from backgrad.evaluation.defence_table import MEASURES, UNDEFENDED, defence_table
from backgrad.evaluation.metrics import student_interval
from backgrad.evaluation.security_curve import budget_of
from backgrad.evaluation.words import Options, make_plan, open_data, resolve
from backgrad.evaluation.words.defences import ROBUST, make_defences
from backgrad.folders import write_whole
from backgrad.learners.base import Member

# Training and validation rows.
DATA = {
    "spambase": (100, 400),
    "mnist-1-7": (100, 400),
    "breast-cancer": (150, 150),
    "ransomware": (100, 400),
    "mnist": (200, 400),
}
DEFENCES = (*SANITISERS, *ROBUST)
SHARES = (0.05, 0.1, 0.2)
TRUSTED, REMOVED, SPLITS, STEPS = 100, 0.2, 3, 60


def measure(name: str, learner: str, share: float, number: int, names: list[str]) -> dict:
    """Return the table of one combination on one split, with the defences named, as plain values."""
    data = open_data(name)
    train, validation = DATA[name]
    points = budget_of(share, train)
    kind = "softmax" if learner == "linear" and data.dataset.n_classes > 2 else "logistic"
    options = resolve(
        Options(learner=kind if learner == "linear" else learner, points=points, outer_steps=STEPS), data.dataset
    )
    plan = make_plan(options, data.dataset)
    splits = list(data.splits(train=train, validation=validation, seed=0, count=SPLITS))
    defences = make_defences(names, Member(plan.learner, plan.schedule), fraction=REMOVED, train=train, seed=0)
    begin = time.perf_counter()
    found = defence_table(
        plan,
        data.table,
        [splits[number].with_trusted(TRUSTED)],
        defences=defences,
        budgets=[points],
        seed=0,
        first_split=number,
    )
    return {
        "seconds": time.perf_counter() - begin,
        "train": train,
        "validation": validation,
        "points": points,
        "flips": found.label_flips[0].tolist(),
        "defences": {one: {m: found.of(m, one)[0].tolist() for m in MEASURES} for one in found.names},
        "warnings": list(found.warnings),
    }


def missing(before: dict | None, number: int, again: list[str]) -> list[str]:
    """Return the defences of which a split is not known; of those in `again`, where nobody who knows them attacked."""

    def known(name: str) -> bool:
        measures = {} if before is None else before["defences"].get(name, {})
        errors = measures.get("adaptive_error", [])
        return len(errors) > number and not (name in again and np.isnan(errors[number]))

    return [name for name in DEFENCES if not known(name)]


def joined(before: dict | None, more: dict, number: int) -> dict:
    """Return what is known of a combination, with what was measured on a split in its place."""
    if before is None:
        return more

    def put(values: list, new: list) -> list:
        return values[:number] + new + values[number + 1 :]

    held = before["defences"]
    defences = {
        name: {m: put(held.get(name, {}).get(m, []), values) for m, values in more["defences"][name].items()}
        if name in more["defences"]
        else held[name]
        for name in (UNDEFENDED, *DEFENCES)
        if name in more["defences"] or name in held
    }
    return {
        **before,
        "seconds": before["seconds"] + more["seconds"],
        "flips": put(before["flips"], more["flips"]),
        "defences": defences,
        "warnings": list(dict.fromkeys(before["warnings"] + more["warnings"])),
    }


def show(key: str, found: dict) -> None:
    """Print one table, in percent, with half the 95 % interval where there are three splits."""
    flips = 100 * np.mean(found["flips"])
    print(
        f"\n{key}: {found['points']} points on {found['train']} rows, {len(found['flips'])} splits, "
        f"{found['seconds']:.0f} s; label flips alone {flips:.1f}"
    )
    print(f"{'defence':20}{'no attack':>14}{'unknown':>14}{'known':>14}{'points out':>12}{'clean out':>12}{'s':>9}")
    for name, measures in found["defences"].items():
        cells = [_cell(measures[m]) for m in ("clean_error", "oblivious_error", "adaptive_error")]
        shares = [_cell(measures[m], spread=False) for m in ("poison_removed", "clean_removed")]
        seconds = f"{np.mean(measures['seconds']):.3f}"
        print(f"{name:20}" + "".join(f"{c:>14}" for c in cells) + "".join(f"{c:>12}" for c in shares) + f"{seconds:>9}")


def _key(name: str, learner: str, share: float) -> str:
    return f"{name}, {learner}, {share:.0%}"


def write_markdown(path: pathlib.Path, done: dict[str, dict]) -> None:
    """Write what is left of the harm, and one table a data set and learner: errors without and under both attackers."""
    parts = [_summary(done)]
    for name in DATA:
        for learner in ("linear", "mlp"):
            shares = [share for share in SHARES if _key(name, learner, share) in done]
            if shares:
                parts.append(_markdown(name, learner, {share: done[_key(name, learner, share)] for share in shares}))
    path.write_text("\n".join(parts))


def _summary(done: dict[str, dict]) -> str:
    """Return a table of what a defence costs without an attack, and of the share of the harm that it leaves.

    Harm is the test error beyond that of the undefended model without an attack, so what a defence costs counts as
    harm that it leaves; 100 % is what the attack does to the undefended model. Means over data sets and learners.
    """
    names = dict.fromkeys(name for one in done.values() for name in one["defences"] if name != UNDEFENDED)
    heads = ["defence", "cost", *(f"{share:.0%}, {kind}" for share in SHARES for kind in ("unknown", "known"))]
    lines = [f"| {' | '.join(heads)} |", f"| --- |{' ---: |' * (len(heads) - 1)}"]
    for name in names:
        cost = [_mean(one, name, "clean_error") - _mean(one, UNDEFENDED, "clean_error") for one in done.values()]
        cells = [f"{100 * np.mean(cost):.1f}"]
        for share in SHARES:
            at_share = [one for key, one in done.items() if key.endswith(f" {share:.0%}")]
            for measure in ("oblivious_error", "adaptive_error"):
                left = np.array([_harm_left(one, name, measure) for one in at_share])
                cells.append(f"{100 * left.mean():.0f}" if np.isfinite(left).all() and left.size else "–")
        lines.append(f"| {name} | {' | '.join(cells)} |")
    return "\n".join([*lines, ""])


def _mean(found: dict, defence: str, measure: str) -> float:
    known = _known(found["defences"][defence][measure])
    return float(known.mean()) if known.size else float("nan")


def _harm_left(found: dict, defence: str, measure: str) -> float:
    before = _mean(found, UNDEFENDED, "clean_error")
    return (_mean(found, defence, measure) - before) / (_mean(found, UNDEFENDED, "oblivious_error") - before)


def _markdown(name: str, learner: str, found: dict[float, dict]) -> str:
    points = ", ".join(f"{one['points']} ({share:.0%})" for share, one in found.items())
    train = " or ".join(dict.fromkeys(str(one["train"]) for one in found.values()))
    flips = ", ".join(f"{100 * np.mean(one['flips']):.1f}" for one in found.values())
    heads = ["defence", "no attack", *(f"{share:.0%}, {kind}" for share in found for kind in ("unknown", "known"))]
    lines = [
        f"### {name}, {'MLP' if learner == 'mlp' else 'linear'}",
        "",
        f"{train} training rows; {points} points; label flips alone {flips} %.",
        "",
        f"| {' | '.join(heads)} |",
        f"| --- |{' ---: |' * (len(heads) - 1)}",
    ]
    first = next(iter(found.values()))
    for defence, measures in first["defences"].items():
        cells = [_cell(measures["clean_error"], spread=False)]
        for one in found.values():
            its = one["defences"].get(defence, {})
            cells += [_cell(its.get(m, []), spread=False) for m in ("oblivious_error", "adaptive_error")]
        lines.append(f"| {defence} | {' | '.join(cells)} |")
    return "\n".join([*lines, ""])


def _known(values: list[float]) -> np.ndarray:
    return np.array([v for v in values if v is not None and np.isfinite(v)])


def _cell(values: list[float], *, spread: bool = True) -> str:
    known = _known(values)
    if not known.size:
        return "–"
    ends = student_interval(known)
    half = f" ± {50 * (ends[1] - ends[0]):.1f}" if spread and ends is not None else ""
    return f"{100 * known.mean():.1f}{half}"


def main() -> None:
    """Measure what is missing, and print all."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.defences.table", description=__doc__)
    parser.add_argument("--json", type=pathlib.Path, default=pathlib.Path("defence-table.json"))
    parser.add_argument("--data", nargs="+", choices=DATA, default=list(DATA))
    parser.add_argument("--learners", nargs="+", choices=("linear", "mlp"), default=["linear", "mlp"])
    parser.add_argument("--shares", nargs="+", type=float, default=list(SHARES))
    parser.add_argument(
        "--again",
        nargs="+",
        choices=DEFENCES,
        metavar="NAME",
        default=[],
        help="measure these where no attacker who knows them was tried",
    )
    parser.add_argument("--markdown", type=pathlib.Path, help="a file for the tables of everything in --json")
    arguments = parser.parse_args()
    jax.config.update("jax_enable_x64", True)
    done = json.loads(arguments.json.read_text()) if arguments.json.exists() else {}
    for share in arguments.shares:
        for learner in arguments.learners:
            for name in arguments.data:
                key = _key(name, learner, share)
                try:
                    for number in range(SPLITS):
                        names = missing(done.get(key), number, arguments.again)
                        if names:
                            more = measure(name, learner, share, number, names)
                            done[key] = joined(done.get(key), more, number)
                            write_whole(arguments.json, json.dumps(done).encode())
                except DatasetError as error:
                    print(f"{key}: left out ({error})")
                    continue
                show(key, done[key])
                jax.clear_caches()  # programs of other shapes are of no more use, and their memory maps run out
    if arguments.markdown is not None:
        write_markdown(arguments.markdown, done)


if __name__ == "__main__":
    main()
