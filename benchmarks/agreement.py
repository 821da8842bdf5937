"""Whether hypergradients through different initialisations agree: `python -m benchmarks.agreement`.

An attacker who does not know a network's initial parameters climbs hypergradients through initialisations of its own.
That leads somewhere only if they agree. For ten points among 1,000 digits 1, 5 and 6 this prints the mean cosine
between the hypergradients of the same point through two initialisations, by the step size, the momentum and the number
of the attacker's training steps: next to 0 where training is chaotic, as at the victim's own settings.
"""

import argparse
import dataclasses

import jax
import numpy as np

import backgrad as bg
from backgrad.attacks.health import agreement
from backgrad.attacks.preparation import prepare
from backgrad.evaluation.networks import LOSS_WIDTH
from backgrad.evaluation.plan import attack_seed, split_key
from backgrad.learners.catalogue import default_schedule
from backgrad.paper.tasks import open_digits, split_of

# η, γ and T; the victim's first.
_TRAININGS = ((0.05, 0.9, 200), (0.02, 0.9, 200), (0.01, 0.9, 200), (0.05, 0.0, 200), (0.05, 0.9, 60), (0.01, 0.9, 60))


def measure(schedule: bg.Descent, *, dataset: str, narrow: int, width: float, draws: int, seed: int) -> np.ndarray:
    """Return the mean cosine of each of ten points."""
    sizes = {"train": 1000, "validation": 2000 if dataset == "mnist-full" else 1000}
    data = open_digits(dataset, ("1", "5", "6"))
    rows, own = split_of(data, sizes, seed, 0), (seed, 0)
    prepared = prepare(
        bg.CNN(n_classes=3).narrow(narrow),
        data.table.samples(rows.train),
        data.table.samples(rows.validation),
        schedule=dataclasses.replace(schedule, key=split_key(own)),
        threat=bg.ThreatModel(10, bg.ErrorGeneric(bg.SmoothZeroOne(width))),
        seed=attack_seed(own),
        adjoint=None,
        start=None,
        devices=None,
    )
    return agreement(prepared.objective, prepared.start, jax.random.key(seed + 1), draws)


def main() -> None:
    """Print one line for each training."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.agreement", description=__doc__)
    parser.add_argument("--data", choices=("mnist", "mnist-full"), default="mnist", help="(default: %(default)s)")
    parser.add_argument("--narrow", type=int, default=8, help="what the CNN's widths are divided by (default: 8)")
    parser.add_argument("--width", type=float, default=LOSS_WIDTH, help="of the zero-one loss (default: %(default)s)")
    parser.add_argument("--draws", type=int, default=20, help="initialisations (default: 20)")
    parser.add_argument("--seed", type=int, default=1, help="of the split and the draws (default: 1)")
    given = parser.parse_args()
    print("step size  momentum  steps  mean cosine ± standard error over points", flush=True)
    for step_size, momentum, steps in _TRAININGS:
        schedule = dataclasses.replace(default_schedule("cnn"), step_size=step_size, momentum=momentum, steps=steps)
        found = measure(
            schedule, dataset=given.data, narrow=given.narrow, width=given.width, draws=given.draws, seed=given.seed
        )
        error = np.std(found, ddof=1) / np.sqrt(len(found))
        print(f"{step_size:9.2f}  {momentum:8.1f}  {steps:5d}  {np.mean(found):11.3f} ± {error:.3f}", flush=True)


if __name__ == "__main__":
    main()
