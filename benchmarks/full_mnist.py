"""Poisoning all of MNIST: 50,000 training rows, 1,500 points, victims nobody has seen.

`python -m benchmarks.full_mnist --learner softmax --epochs 20` draws 50,000 of the official training digits to train
on and gives the other 10,000 to the attacker as validation rows. Training takes mini-batches of 500 rows with momentum
0.9. Victims are trained from keys of their own, for whole epochs of the rows that they are given, and judged on the
official test digits, once. There are two ways to choose 1,500 points (2.9 % of the rows), `--strategy`:

- `joint`, the usual one for softmax regression: `JointAttack` moves points that start as training rows with wrong
  labels. It draws initial parameters and batches anew at each iteration, because those of the victims are unknown to
  it. Success is measured on the validation rows and on the training rows together: against 10,000 validation rows
  alone, 1.2 million pixels fit those rows and not others (see docs/full-mnist.md).
- `subpopulation`, the usual one for networks: `SubpopulationAttack` looks for the part of a class whose rows do most
  harm with a wrong label. Success is measured on the validation rows.

The search keeps its state in a file. A run that was killed goes on where it was when the same command is given again.
"""

import argparse
import dataclasses
import json
import time
from pathlib import Path
from typing import Any

import jax
import numpy as np

import backgrad as bg
from backgrad.attacks.checkpoint import Arrays
from backgrad.attacks.subpopulation import ERROR_WIDTH
from backgrad.evaluation.cost import process_peak
from backgrad.evaluation.metrics import error_rate
from backgrad.evaluation.networks import LOSS_WIDTH
from backgrad.evaluation.victims import train_and_predict
from backgrad.studies.checkpoint import CheckpointFile
from backgrad.types import Samples, with_reused

from .table import describe, machine

_MOMENTUM = 0.9


@dataclasses.dataclass(frozen=True)
class Settings:
    """How one kind of victim is trained and attacked.

    Args:
        victim: its learner.
        surrogate: what the attacker trains in its place.
        eta: the victim's step size.
        strategy: `joint` or `subpopulation`.
        candidates: trials of a search over subpopulations.
        own_eta: the step size of the attacker's own training in joint attacks, to which the rest belongs as well.
        iterations: hypergradients.
        rehearsal: hypergradients through a fifth of the training, before those.
        step_size: α, the length of a point's first step.
        loss: the outer loss.
        hold_unit: whether its gradients hold its unit, see `backgrad.JointAttack`.
        reuse: the weight of training rows among those that the attacker measures success on.
    """

    victim: Any
    surrogate: Any
    eta: float
    strategy: str
    candidates: int
    own_eta: float
    iterations: int
    rehearsal: int
    step_size: float
    loss: Any
    hold_unit: bool = True
    reuse: float = 1.0


def _settings() -> dict[str, Settings]:
    softmax = bg.SoftmaxRegression(784, 0.0, 10)
    mlp = bg.MLP(784, n_classes=10, hidden=(100,))
    cnn = bg.CNN()
    # Linear models err on many rows, networks on few, which only a narrow loss sees.
    zero_one, narrow = bg.SmoothZeroOne(0.2), bg.SmoothZeroOne(LOSS_WIDTH)
    return {
        "softmax": Settings(softmax, softmax, 0.1, "joint", 100, 0.1, 80, 100, 8.0, zero_one),
        # Joint points found through training at half the victims' step size do more harm, see docs/full-mnist.md.
        "mlp": Settings(mlp, mlp, 0.1, "subpopulation", 250, 0.05, 100, 60, 1.0, narrow, hold_unit=False),
        # An eighth of the width costs half of what a quarter does; at a step of 0.1 the CNN diverges now and then.
        "cnn": Settings(cnn, cnn.narrow(8), 0.05, "subpopulation", 80, 0.01, 40, 60, 1.5, narrow, hold_unit=False),
    }


@dataclasses.dataclass(frozen=True)
class Sizes:
    """How much of everything there is."""

    train: int = 50_000
    validation: int = 10_000
    test: int = 10_000
    points: int = 1_500
    batch: int = 500


_QUICK = Sizes(train=2_000, validation=500, test=1_000, points=60, batch=100)


@dataclasses.dataclass(frozen=True)
class Digits:
    """The rows, by their roles.

    Args:
        train: what victims are trained on.
        validation: the attacker's.
        x_test: pixels of the test rows, (n, 784).
        y_test: their digits, (n,).
    """

    train: Samples
    validation: Samples
    x_test: np.ndarray
    y_test: np.ndarray


def load_digits(sizes: Sizes, *, quick: bool, seed: int) -> Digits:
    """Return the official test digits, and a random partition of those to train on; all bundled ones where quick."""
    data = bg.load("mnist" if quick else "mnist-full")
    x, y = data.x.astype(np.float32), data.y
    last = len(x) - sizes.test
    order = np.random.default_rng(seed).permutation(last)
    train, validation = np.split(order[: sizes.train + sizes.validation], [sizes.train])
    return Digits(
        bg.samples(x[train], y[train], 10, dtype=np.float32),
        bg.samples(x[validation], y[validation], 10, dtype=np.float32),
        x[last:],
        y[last:],
    )


class TimedFile:
    """A checkpoint in a file that remembers how long the search took over all processes, and says how it goes."""

    def __init__(self, path: Path):
        self.file = CheckpointFile(path)
        self.clock, self.seconds, self.done = time.perf_counter(), 0.0, 0
        self.pace: list[float] = []

    def load(self) -> Arrays | None:
        """Return what was saved last, and take the time of earlier processes up."""
        found = self.file.load()
        if found is not None and not self.seconds:
            self.seconds, self.done = float(found["seconds"]), found["trace"].shape[1]
            print(f"going on from {self.file.path}, {self.seconds:.0f} s into the search", flush=True)
        self.clock = time.perf_counter()
        return found

    def save(self, arrays: Arrays) -> None:
        """Keep the state with the time so far, and print a line."""
        now, trace = time.perf_counter(), arrays["trace"][0]
        lap, before = now - self.clock, self.done if len(trace) > self.done else 0
        self.clock, self.done, self.seconds = now, len(trace), self.seconds + lap
        self.pace.append(lap / (len(trace) - before))
        self.file.save({**arrays, "seconds": np.float64(self.seconds)})
        print(f"  {len(trace):4d} iterations, objective {trace[-1]:.4f}, {self.pace[-1]:.2f} s each", flush=True)


def schedule(eta: float, epochs: int, batch: int, rows: int, key: Any) -> bg.Descent:
    """Return a training of whole epochs of so many rows."""
    steps = epochs * -(-rows // batch)
    return bg.Descent(steps, eta, _MOMENTUM, batch_size=batch, key=key)


def attack(settings: Settings, digits: Digits, sizes: Sizes, *, epochs: int, seed: int, file: TimedFile) -> Any:
    """Craft the points."""
    if settings.strategy == "subpopulation":
        how: Any = bg.SubpopulationAttack(settings.candidates, redraw=True)
        eta, labels = settings.eta, bg.ChosenLabels()
    else:
        how = bg.JointAttack(
            settings.iterations,
            step_size=settings.step_size,
            rehearsal=settings.rehearsal,
            redraw=True,
            hold_unit=settings.hold_unit,
        )
        eta, labels = settings.own_eta, bg.FlippedLabels()
    return how.craft(
        settings.surrogate,
        digits.train,
        with_reused(digits.validation, digits.train, settings.reuse),
        schedule=schedule(eta, epochs, sizes.batch, sizes.train + sizes.points, jax.random.key(seed)),
        threat=bg.ThreatModel(sizes.points, goal=bg.ErrorGeneric(settings.loss), labels=labels),
        seed=seed,
        checkpoint=file,
    )


def judge(
    settings: Settings, digits: Digits, result: Any, sizes: Sizes, *, epochs: int, seed: int, victims: int
) -> dict[str, dict[str, list[float]]]:
    """Return errors of victims whose initial parameters and batches the attacker never saw, on test rows and on the
    validation rows that it saw.
    """
    added = {
        "clean": None,
        "label_flip": (result.start, result.start_labels),
        "poisoned": (result.points, result.labels),
    }
    # The attacker's keys follow from the seed's own key; these from another.
    base = jax.random.key(seed + 2**20)
    x = np.concatenate([digits.x_test, digits.validation.x])
    true = {"test": digits.y_test, "validation": np.argmax(digits.validation.y, axis=1)}
    found: dict[str, dict[str, list[float]]] = {where: {name: [] for name in added} for where in true}
    for name, points in added.items():
        block = () if points is None else (bg.samples(*points, 10, dtype=np.float32),)
        rows = sizes.train + (0 if points is None else sizes.points)
        for number in range(victims):
            plan = schedule(settings.eta, epochs, sizes.batch, rows, jax.random.fold_in(base, number))
            labels, diverged = train_and_predict(settings.victim, (digits.train, *block), plan, x)
            for where, given in zip(true, np.split(labels, [sizes.test]), strict=True):
                found[where][name].append(error_rate(given, true[where]))
            print(f"  {name}: {found['test'][name][-1]:.2%}{' (diverged)' if diverged else ''}", flush=True)
    return found


def run(arguments: argparse.Namespace) -> dict[str, Any]:
    """Attack, judge, and return what was found as plain values."""
    before, begin = machine(), time.perf_counter()
    print(describe(before), flush=True)
    sizes = _QUICK if arguments.quick else Sizes()
    settings = _asked(_settings()[arguments.learner], arguments)
    digits = load_digits(sizes, quick=arguments.quick, seed=arguments.seed)
    file = TimedFile(arguments.state)
    common = {"epochs": arguments.epochs, "seed": arguments.seed}
    result = attack(settings, digits, sizes, file=file, **common)
    crafted, begin = time.perf_counter() - begin, time.perf_counter()
    errors = judge(settings, digits, result, sizes, victims=arguments.victims, **common)
    return {
        "machine": before,
        "learner": arguments.learner,
        "settings": {
            **{f.name: str(getattr(settings, f.name)) for f in dataclasses.fields(settings)},
            **dataclasses.asdict(sizes),
            **common,
            "quick": arguments.quick,
        },
        "errors": errors["test"],
        "mean": {name: float(np.mean(values)) for name, values in errors["test"].items()},
        "mean_on_validation": {name: float(np.mean(values)) for name, values in errors["validation"].items()},
        "objective": [float(value) for value in result.trace],
        "health": {"verdict": result.health.verdict, "sentence": result.health.sentence},
        "seconds": {
            "each": float(np.median(file.pace)) if file.pace else None,
            "search": file.seconds,
            "craft_in_this_process": crafted,
            "victims": time.perf_counter() - begin,
        },
        "peak_mib": (process_peak() or 0) / 2**20,
    }


def _asked(settings: Settings, arguments: argparse.Namespace) -> Settings:
    """Return settings with what the command line says otherwise."""
    usual: dict[str, Any] = {"iterations": 4, "candidates": 4, "rehearsal": 0} if arguments.quick else {}
    if (arguments.strategy or settings.strategy) == "subpopulation":
        # Rows that points are copies of are no judges of them.
        usual |= {"loss": bg.SmoothZeroOne(ERROR_WIDTH), "reuse": 0.0}
    given = {name: getattr(arguments, name) for name in ("strategy", "iterations", "rehearsal", "step_size", "reuse")}
    given["candidates"] = arguments.iterations
    given["own_eta"] = arguments.attack_step_size
    if arguments.objective is not None:
        given["loss"] = {"zero-one": bg.SmoothZeroOne(arguments.width), "log-loss": bg.LogLoss()}[arguments.objective]
    if arguments.whole:
        given["hold_unit"] = False
    return dataclasses.replace(settings, **usual | {name: value for name, value in given.items() if value is not None})


def report(found: dict[str, Any]) -> str:
    """Return the result in a few lines."""
    seconds, lines = found["seconds"], [""]
    for name, errors in found["errors"].items():
        each = ", ".join(f"{error:.2%}" for error in errors)
        seen = found["mean_on_validation"][name]
        lines.append(f"{name.replace('_', ' '):<11} {np.mean(errors):7.2%}   ({each}; validation {seen:.2%})")
    unit = "hypergradient" if found["settings"]["strategy"] == "joint" else "trial"
    pace = "all before" if seconds["each"] is None else f"{seconds['each']:.2f} s a {unit}"
    lines.append(
        f"{pace}, search {seconds['search']:.0f} s, victims {seconds['victims']:.0f} s, "
        f"peak memory {found['peak_mib']:.0f} MiB"
    )
    lines.append(f"attack {found['health']['verdict']}: {found['health']['sentence']}")
    return "\n".join(lines)


def main() -> None:
    """Run one attack and write what was found."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.full_mnist", description=__doc__)
    parser.add_argument("--learner", choices=("softmax", "mlp", "cnn"), default="softmax")
    parser.add_argument("--epochs", type=int, default=20, help="of the attacker's and the victims' training")
    parser.add_argument("--strategy", choices=("joint", "subpopulation"), help="(default: by learner)")
    parser.add_argument("--iterations", type=int, help="hypergradients, or trials (default: by learner)")
    parser.add_argument("--rehearsal", type=int, help="hypergradients through a fifth of the training, before those")
    parser.add_argument("--step-size", type=float, help="length of a point's first step (default: by learner)")
    parser.add_argument("--attack-step-size", type=float, help="of the attacker's own training (default: by learner)")
    parser.add_argument(
        "--width", type=float, default=0.5, help="of the zero-one loss, with --objective (default: 0.5)"
    )
    parser.add_argument("--whole", action="store_true", help="climb the whole gradient of the zero-one loss")
    parser.add_argument("--reuse", type=float, help="weight of training rows beside the validation rows (default: 1)")
    parser.add_argument("--objective", choices=("zero-one", "log-loss"), help="outer loss (default: by learner)")
    parser.add_argument("--victims", type=int, default=3, help="trained on each of the three sets (default: 3)")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--quick", action="store_true", help="2,000 of the bundled digits, 60 points, 4 iterations")
    parser.add_argument("--state", type=Path, help="the search's state (default: runs/full-mnist-….npz)")
    parser.add_argument("--json", type=Path, help="where results go (default: runs/full-mnist-….json)")
    arguments = parser.parse_args()
    name = f"full-mnist-{arguments.learner}-{arguments.epochs}{'-quick' if arguments.quick else ''}"
    arguments.state = arguments.state or Path("runs") / f"{name}.npz"
    arguments.json = arguments.json or Path("runs") / f"{name}.json"
    found = run(arguments)
    print(report(found))
    arguments.json.parent.mkdir(parents=True, exist_ok=True)
    arguments.json.write_text(json.dumps(found, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
    print(f"Written: {arguments.json}; the search's state stays in {arguments.state}")


if __name__ == "__main__":
    main()
