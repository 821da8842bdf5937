"""What certificates promise, and what attacks on the certified classifiers reach.

1. Deep Partition Aggregation (Levine and Feizi, ICLR 2021): certified accuracy on MNIST against inserted or deleted
   rows, for several numbers k of partitions. The source certifies half of the test images against more than 500
   insertions, with k = 1,200, all 60,000 rows and a network in network as base classifier. Here there are 8,000 rows
   and ridge; a radius cannot exceed k/2, and a partition needs rows enough to learn ten digits from.
2. The same classifier attacked: by rows crafted against softmax regression, which its linear members resemble, and by
   an attacker who knows the hash and spoils one partition after another. No measured accuracy may be below the
   certified. Single test rows are attacked too, by copies of the row under a rival's label: how many does it take, and
   how many does the certificate say are too few?
3. Changed labels (Rosenfeld, Winston, Ravikumar and Kolter, ICML 2020) on MNIST 1 versus 7, for several q, by the
   source's certificate, by the sharper one of Neyman and Pearson, and exactly; then attacked by changed labels.

Run `python -m benchmarks.defences.certificates`.
"""

import argparse
import os
import time
from pathlib import Path
from typing import NamedTuple

# Models of a few dozen rows are slower on several threads than on one.
os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")

import numpy as np
from sklearn.linear_model import RidgeClassifier

import backgrad as bg
from backgrad.attacks.preparation import start_points
from backgrad.defences.certified import DeepPartitionAggregation, SmoothedLabelsClassifier
from backgrad.defences.certified.partition import hash_rows
from backgrad.evaluation.displays import CertificateDisplay
from backgrad.evaluation.plan import Plan, Rows, Table
from backgrad.evaluation.poisoning import craft_on_split

BUDGETS = (1, 5, 10, 20, 50)
FLIPS = (0, 1, 5, 10, 20, 50, 100, 200)
SURROGATE = 300
ATTACKS = {
    "joint": bg.JointAttack(15),
    "greedy": bg.GreedyAttack(max_steps=2),
    "coordinate": bg.CoordinateAttack(max_steps=1, passes=1),
}


class Split(NamedTuple):
    """Rows to train on, for the attacker to measure success on, and to test on."""

    data: bg.Dataset
    rows: Rows

    def train(self) -> tuple[np.ndarray, np.ndarray]:
        return self.data.x[self.rows.train], self.data.y[self.rows.train]

    def test(self) -> tuple[np.ndarray, np.ndarray]:
        return self.data.x[self.rows.test], self.data.y[self.rows.test]


def draw(name: str, *, train: int, seed: int = 0) -> Split:
    data = bg.load(name)
    rows = bg.split_rows(data.n_samples, train=train, validation=300, seed=seed, split=0, labels=data.y)
    return Split(data, Rows(rows.train, rows.validation, rows.test))


def ensemble(k: int, data: bg.Dataset) -> DeepPartitionAggregation:
    return DeepPartitionAggregation(RidgeClassifier(10.0), k, classes=range(data.n_classes))


def partition_sizes(split: Split) -> None:
    budgets = (0, 1, 5, 10, 20, 50, 100)
    n = len(split.rows.train)
    print(f"1. {split.data.name}: certified accuracy in % against p inserted or deleted rows, {n} rows")
    print(f"{'k':>6}{'median radius':>15}" + "".join(f"{f'p={p}':>8}" for p in budgets) + f"{'seconds':>9}")
    for k in (50, 100, 250):
        begin = time.perf_counter()
        model = ensemble(k, split.data).fit(*split.train())
        x, y = split.test()
        shares, radius = model.certified_accuracy(x, y, budgets), model.certified_radius(x)
        middle = np.median(np.where(model.predict(x) == y, radius, -1))
        cells = "".join(f"{100 * share:8.1f}" for share in shares)
        print(f"{k:>6}{middle:>15.0f}{cells}{time.perf_counter() - begin:>9.1f}", flush=True)
    print("source: k = 1200 of 60,000 rows, network in network: median above 500.")


def craft(attack: bg.Attack, split: Split, budget: int, rows: np.ndarray | None = None):
    """Return features and labels of points crafted against softmax regression of some training rows."""
    data, known = split.data, split.rows.train[:SURROGATE] if rows is None else rows
    learner = bg.SoftmaxRegression(data.n_features, 0.01, data.n_classes)
    plan = Plan(learner, bg.Descent(40, 0.3, 0.5), attack, bg.ThreatModel(budget))
    found = craft_on_split(
        plan, Table(data.x, data.y, data.n_classes), Rows(known, split.rows.validation, split.rows.test), seed=(0, 0)
    )
    return found.points.astype(float), found.labels


def flipped(split: Split, budget: int):
    """Return training rows with wrong labels."""
    known = Table(split.data.x, split.data.y, split.data.n_classes).samples(split.rows.train)
    points, labels = start_points(known, bg.ThreatModel(budget), 0)
    return points.astype(float), labels


def scattered(split: Split, budget: int):
    """Return points drawn uniformly from the unit cube, with labels drawn likewise."""
    rng = np.random.default_rng(0)
    return rng.random((budget, split.data.n_features)), rng.integers(0, split.data.n_classes, budget)


def into_partition(row: np.ndarray, k: int, wanted: int) -> np.ndarray:
    """Return a row whose first pixel, black in any digit, is the least multiple of 1e-7 that hashes there."""
    for first in range(0, 1_000 * k, k):
        tried = np.tile(row, (k, 1))
        tried[:, 0] = 1e-7 * np.arange(first, first + k)
        hits = np.flatnonzero(hash_rows(tried)[:, 0] % np.uint64(k) == wanted)
        if hits.size:
            return tried[hits[0]]
    raise RuntimeError(f"no jitter of 1,000 times {k} lands in partition {wanted}")


def one_partition_each(split: Split, model: DeepPartitionAggregation, budget: int):
    """Return rows crafted against one base model each, jittered into its partition, those of most right votes first."""
    x, y = (split.data.x[split.rows.validation], split.data.y[split.rows.validation])
    right = [np.mean(one.predict(x) == y) for one in model.estimators_]
    order = np.argsort(right)[::-1][:budget]
    # Of one size, so that the attack is compiled once.
    size = min(np.bincount(model.partitions_)[order])
    points, labels = [], []
    for one in order:
        rows = split.rows.train[model.partitions_ == one][:size]
        found, label = craft(bg.JointAttack(5), split, 1, rows)
        points.append(into_partition(found[0], model.n_partitions, one))
        labels.append(label[0])
    return np.array(points), np.array(labels)


def attack_ensemble(split: Split, k: int, folder: Path | None) -> None:
    x, y = split.test()
    model = ensemble(k, split.data).fit(*split.train())
    certified = model.certified_accuracy(x, y, (0, *BUDGETS))
    print(f"\n2. {split.data.name}, k = {k}: accuracy in % with p inserted rows")
    print(f"{'':<28}{'p=0':>8}" + "".join(f"{f'p={p}':>8}" for p in BUDGETS) + f"{'seconds':>9}")
    print(f"{'certified, at least':<28}" + "".join(f"{100 * share:8.1f}" for share in certified), flush=True)
    measured, clean, (train_x, train_y) = {}, model.score(x, y), split.train()
    makers = {
        "label flips": lambda: flipped(split, BUDGETS[-1]),
        "random points": lambda: scattered(split, BUDGETS[-1]),
    }
    makers |= {name: lambda one=one: craft(one, split, BUDGETS[-1]) for name, one in ATTACKS.items()}
    makers["one partition each"] = lambda: one_partition_each(split, model, BUDGETS[-1])
    for name, make in makers.items():
        begin = time.perf_counter()
        points, labels = make()
        scores = []
        for p in BUDGETS:
            poisoned = np.concatenate([train_x, points[:p]]), np.concatenate([train_y, labels[:p]])
            scores.append(ensemble(k, split.data).fit(*poisoned).score(x, y))
        measured[name] = BUDGETS, 1 - np.array(scores)
        cells = "".join(f"{100 * score:8.1f}" for score in (clean, *scores))
        print(f"{name:<28}{cells}{time.perf_counter() - begin:>9.1f}", flush=True)
        require(np.array(scores) >= certified[1:], name)
    attack_single_rows(split, model)
    save(folder, f"dpa-{split.data.name}-{k}.png", model, split, BUDGETS[-1], measured, "inserted rows")


def attack_single_rows(split: Split, model: DeepPartitionAggregation, rows: int = 12) -> None:
    """Insert copies of a test row under the strongest rival's label, each into a partition that votes for the class."""
    (x, y), (train_x, train_y) = split.test(), split.train()
    radius, votes = model.certified_radius(x), model.votes(x)
    right = np.flatnonzero((votes.argmax(axis=1) == y) & (radius > 0))
    picked = right[np.argsort(radius[right], kind="stable")[np.linspace(0, right.size - 1, rows).astype(int)]]
    needed = []
    for one in picked:
        query, first = x[one : one + 1], int(radius[one])
        rivals = votes[one].copy()
        rivals[y[one]] = -1
        label = int(rivals.argmax())
        voting = [j for j, base in enumerate(model.estimators_) if base.predict(query)[0] == y[one]]
        copies = np.array([into_partition(query[0], model.n_partitions, j) for j in voting])
        found = None
        for p in sorted({first, first + 1, *(int(first * s) for s in (1.1, 1.25, 1.5, 2))}):
            if p > len(copies):
                break
            poisoned = np.concatenate([train_x, copies[:p]]), np.concatenate([train_y, np.full(p, label)])
            changed = ensemble(model.n_partitions, split.data).fit(*poisoned).predict(query)[0] != y[one]
            require(np.array([not changed or p > first]), "copies of one row")
            if changed:
                found = p
                break
        needed.append((first, found))
    print("single test rows, certified radius and copies inserted when the prediction changed (None: not by 2 radii):")
    print("  " + ", ".join(f"{a} → {b}" for a, b in needed), flush=True)


def labels(split: Split, folder: Path | None) -> None:
    (train_x, train_y), (x, y) = split.train(), split.test()
    print(f"\n3. {split.data.name}: certified accuracy in % against p changed labels of {len(train_y)}")
    print(f"{'':<28}{'accuracy':>9}" + "".join(f"{f'p={p}':>8}" for p in FLIPS))
    for q in (0.02, 0.1, 0.2, 0.3, 0.4):
        for bound in ("kullback-leibler", "neyman-pearson"):
            model = SmoothedLabelsClassifier(q, bound=bound).fit(train_x, train_y)
            cells = "".join(f"{100 * share:8.1f}" for share in model.certified_accuracy(x, y, FLIPS))
            print(f"{f'q={q} {bound}':<28}{100 * model.score(x, y):>9.1f}{cells}", flush=True)
    model = SmoothedLabelsClassifier(bound="exact").fit(train_x, train_y)
    exact = model.certified_accuracy(x, y, FLIPS)
    print(f"{'exact, no smoothing':<28}{100 * model.score(x, y):>9.1f}" + "".join(f"{100 * one:8.1f}" for one in exact))
    smooth = SmoothedLabelsClassifier(0.1).fit(train_x, train_y)
    smoothed = smooth.certified_accuracy(x, y, FLIPS)
    measured = {
        "labels for each test row": [worst_accuracy(model, x, y, p) for p in FLIPS],
        "labels for all test rows": [common_accuracy(split, model, p) for p in FLIPS],
        "random labels": [random_accuracy(split, p) for p in FLIPS],
    }
    for name, scores in measured.items():
        print(f"{'attack: ' + name:<37}" + "".join(f"{100 * score:8.1f}" for score in scores), flush=True)
        require(np.array(scores) >= np.maximum(exact, smoothed), name)
    errors = {name: (FLIPS, 1 - np.array(scores)) for name, scores in measured.items()}
    save(folder, f"labels-{split.data.name}.png", smooth, split, FLIPS[-1], errors, "changed labels")


def refit(x: np.ndarray, changed: np.ndarray) -> SmoothedLabelsClassifier:
    return SmoothedLabelsClassifier(classes=[0, 1]).fit(x, changed)


def worst_accuracy(model, x, y, p: int) -> float:
    """Attack each test row that is predicted right by itself: scores are linear in labels, so nothing is refitted."""
    hot, right, sound = np.eye(2), [], model.predict(x) == y
    for query, label in zip(x[sound, None], y[sound], strict=True):
        changed = model.worst_flips(query, p)
        alpha = 1 / len(changed) + (query - model.centre_) @ model.influence_.T
        right.append((alpha @ hot[changed]).argmax() == label)
    return float(np.sum(right) / len(y))


def common_accuracy(split: Split, model, p: int) -> float:
    """Change the labels that validation rows lean on most, together."""
    train_x, train_y = split.train()
    x, y = split.data.x[split.rows.validation], split.data.y[split.rows.validation]
    alpha = 1 / len(train_y) + (x - model.centre_) @ model.influence_.T
    help_ = ((2 * y - 1) @ alpha) * (2 * train_y - 1)
    changed = train_y.copy()
    rows = np.argsort(-help_)[:p]
    changed[rows] = 1 - changed[rows]
    return refit(train_x, changed).score(*split.test())


def random_accuracy(split: Split, p: int) -> float:
    train_x, train_y = split.train()
    rows = np.random.default_rng(0).choice(len(train_y), p, replace=False)
    changed = train_y.copy()
    changed[rows] = 1 - changed[rows]
    return refit(train_x, changed).score(*split.test())


def require(held: np.ndarray, name: str) -> None:
    if not held.all():
        raise SystemExit(f"A certificate is broken by {name!r}: this must not happen.")


def save(folder: Path | None, name: str, model, split: Split, most: int, attacks, unit: str) -> None:
    if folder is None:
        return
    folder.mkdir(parents=True, exist_ok=True)
    display = CertificateDisplay.from_estimator(
        model, *split.test(), budgets=range(most + 1), attacks=attacks, unit=unit
    )
    display.plot().figure_.savefig(folder / name, dpi=120)
    print(f"picture: {folder / name}")


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.defences.certificates", description=__doc__)
    parser.add_argument("--pictures", type=Path, help="a folder for the pictures; none where omitted")
    asked, begin = parser.parse_args(), time.perf_counter()
    digits, pair = draw("mnist", train=8000), draw("mnist-1-7", train=1500)
    partition_sizes(digits)
    attack_ensemble(digits, 100, asked.pictures)
    attack_ensemble(pair, 50, asked.pictures)
    labels(pair, asked.pictures)
    print(f"\n{time.perf_counter() - begin:.0f} s, load {os.getloadavg()[0]:.1f} on {os.cpu_count()} threads")


if __name__ == "__main__":
    main()
