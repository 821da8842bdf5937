"""A figure of each sanitiser's source, on the nearest data we have, with 95 % intervals over splits.

1. Label sanitisation (Paudice, Muñoz-González, Lupu 2018b, Fig. 1): test error of a linear classifier against the share
   of flipped labels. The source flips, one by one, the label that raises the validation loss most after retraining;
   here the same loss is differentiated through training with respect to all labels, in four rounds.
2. Anomaly detection (Paudice, Muñoz-González, Gyorgy, Lupu 2018a, Fig. 2): test error of logistic regression under
   optimal poisoning points whose author knows of no defence, with trusted rows; other sanitisers beside it.
3. Spectral signatures (Tran, Li, Mądry 2018, Table 1): share of a backdoor's rows that is left out, and what is left of
   the backdoor. The source plants pixels in CIFAR-10 and looks at a deep residual network; nearest here are a white
   patch in MNIST digits and the hidden layer of a small network, trained on the poisoned rows.

Run `python -m benchmarks.defences.sanitisers [--pictures FOLDER]`.
"""

import dataclasses
import sys
import time
import warnings
from pathlib import Path

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from sklearn.exceptions import ConvergenceWarning
from sklearn.neural_network import MLPClassifier

import backgrad as bg
from backgrad.defences.neighbours import Anomaly, KnnDistance, LabelSanitisation
from backgrad.defences.outliers import IsolationForestSanitiser, LofSanitiser
from backgrad.defences.spectral import SpectralSignatures
from backgrad.evaluation.metrics import error_rate
from backgrad.evaluation.plan import Rows, Table, as_samples
from backgrad.evaluation.poisoning import craft_on_split
from backgrad.evaluation.victims import train_and_predict
from backgrad.evaluation.words import Options, make_plan
from backgrad.learners.catalogue import default_schedule, make_learner

from .common import picture_folder, save_curves, show

SPLITS = 5
DATA = ("spambase", "mnist-1-7", "breast-cancer")
FLIPPED = (0.0, 0.05, 0.1, 0.15, 0.2)
POISONED = (0.05, 0.1, 0.2)
TRUSTED = 100
BACKDOORED, NETWORKS = (0.05, 0.1), 3


def main() -> None:
    pictures, begin = picture_folder(__doc__), time.perf_counter()
    for section in (label_sanitisation, anomaly_detection, spectral_signatures):
        section(pictures)
        print(f"  [{time.perf_counter() - begin:.0f} s]\n")
        sys.stdout.flush()


# --- label sanitisation --------------------------------------------------------------------------


@eqx.filter_jit
def _slope(learner, schedule, train, validation):
    """Return what the validation loss after training gains by a unit of every soft label, (n, 2)."""

    def loss(soft):
        params = bg.train(learner, train._replace(y=soft), schedule=schedule).params
        return jnp.mean(learner.row_losses(learner.scores(params, validation.x), validation.y))

    return jax.grad(loss)(train.y)


def flip(learner, schedule, train, validation, count: int, rounds: int = 4) -> np.ndarray:
    """Return the labels with `count` of them flipped, those whose gradients promise most."""
    before = np.argmax(np.asarray(train.y), axis=1)
    labels, rows = before.copy(), np.arange(before.size)
    for number in range(rounds):
        soft = train._replace(y=bg.one_hot(labels, 2))
        slope = np.asarray(_slope(learner, schedule, soft, validation))
        gain = np.where(labels == before, slope[rows, 1 - labels] - slope[rows, labels], -np.inf)
        share = count * (number + 1) // rounds - count * number // rounds
        best = np.argsort(-gain, kind="stable")[:share]
        labels[best] = 1 - labels[best]
    return labels


def label_sanitisation(pictures: Path | None) -> None:
    panels = {}
    for name in DATA:
        data = bg.load(name)
        learner = make_learner("svm", n_features=data.n_features, n_classes=2, l2=0.01)
        schedule = default_schedule("svm")
        found = {share: {key: [] for key in ("none", "drop", "relabel", "hit", "wrong")} for share in FLIPPED}
        for k in range(SPLITS):
            split = bg.split_rows(data.n_samples, train=200, validation=150, seed=0, split=k)
            x, y = data.x[split.train], data.y[split.train]
            train, validation = as_samples(x, y, 2), as_samples(data.x[split.validation], data.y[split.validation], 2)
            for share in FLIPPED:
                labels = flip(learner, schedule, train, validation, round(share * len(y)))
                for key, value in _behind_label_sanitisation(learner, schedule, data, split, labels).items():
                    found[share][key].append(value)
        columns = ("no defence", "rows dropped", "relabelled", "flips found", "clean struck")
        panels[name] = {
            words: {share: values[key] for share, values in found.items()}
            for words, key in zip(columns, ("none", "drop", "relabel"), strict=False)
        }
        rows = {f"{share:.0%} flipped": list(values.values()) for share, values in found.items()}
        show(f"Label sanitisation, {name}: test error (%) of a linear SVM; k = 10, η = 0.5", columns, rows)
    save_curves(pictures and pictures / "label-sanitisation.png", panels, score="test error", x="flipped labels")


def _behind_label_sanitisation(learner, schedule, data, split, labels) -> dict[str, float]:
    """Return errors without defence and behind two, the share of flips found, and of other rows struck."""
    x, truth = data.x[split.train], data.y[split.train]
    test = data.x[split.test], data.y[split.test]
    drop, relabel = LabelSanitisation(), LabelSanitisation(relabel=True)
    drop.fit_resample(x, labels)
    corrected = relabel.fit_resample(x, labels)[1]
    keep = np.isin(np.arange(len(x)), drop.sample_indices_)
    flipped = labels != truth
    sets = {"none": (labels, np.ones(len(x))), "drop": (labels, keep), "relabel": (corrected, np.ones(len(x)))}
    errors = {}
    for key, (y, weight) in sets.items():
        block = as_samples(x, y, 2)
        block = block._replace(weight=jnp.asarray(weight, block.weight.dtype))
        errors[key] = error_rate(train_and_predict(learner, (block,), schedule, test[0])[0], test[1])
    hit = np.mean(~keep[flipped]) if flipped.any() else np.nan
    return {**errors, "hit": float(hit), "wrong": float(np.mean(~keep[~flipped]))}


# --- anomaly detection and other sanitisers --------------------------------------------------------


def anomaly_detection(pictures: Path | None) -> None:
    panels = {}
    for name in ("spambase", "mnist-1-7"):
        data = bg.load(name)
        table = Table(data.x, data.y, 2)
        found = {share: {} for share in POISONED}
        for k in range(SPLITS):
            split = bg.split_rows(data.n_samples, train=100, validation=400, seed=0, split=k)
            rows = Rows(split.train, split.validation, split.test).with_trusted(TRUSTED)
            for share in POISONED:
                plan = make_plan(Options(learner="logistic", points=round(100 * share / (1 - share))), data)
                plan = dataclasses.replace(plan, attack=dataclasses.replace(plan.attack, iterations=60, rehearsal=0))
                attack = craft_on_split(plan, table, rows, seed=(0, k))
                for key, values in _behind_sanitisers(plan, table, rows, attack).items():
                    found[share].setdefault(key, []).append(values)
        columns = ("no attack", "attacked", "poison gone", "clean gone")
        for share, values in found.items():
            lines = {key: np.asarray(one).T for key, one in values.items()}
            show(f"Sanitisers, {name}: test error (%) of logistic regression, {share:.0%} poison", columns, lines)
            for key, (without, attacked, *_) in lines.items():
                curve = panels.setdefault(name, {}).setdefault(key, {0.0: without})
                curve[share] = attacked
    save_curves(pictures and pictures / "anomaly.png", panels, score="test error")


def _behind_sanitisers(plan, table, rows, attack) -> dict[str, tuple[float, ...]]:
    """Return of each sanitiser the error without and with points, and the shares of points and clean rows gone."""
    n, x, y = len(rows.train), table.x[rows.train], table.y[rows.train]
    px, py = np.concatenate([x, attack.points]), np.concatenate([y, attack.labels])
    trusted = table.x[rows.trusted], table.y[rows.trusted]
    defences = {
        "none": None,
        "Anomaly, 100 trusted": Anomaly(fraction=0.05, k=5, trusted=trusted),
        "Anomaly, none trusted": Anomaly(fraction=0.2),
        "KnnDistance": KnnDistance(fraction=0.2),
        "LofSanitiser": LofSanitiser(fraction=0.2),
        "IsolationForestSanitiser": IsolationForestSanitiser(fraction=0.2),
        "SpectralSignatures": SpectralSignatures(fraction=0.2),
        "LabelSanitisation": LabelSanitisation(),
    }
    found = {}
    for name, defence in defences.items():
        errors, keep = [], np.ones(len(px), bool)
        for size in (n, len(px)):
            keep = np.ones(size, bool)
            if defence is not None:
                defence.fit_resample(px[:size], py[:size])
                keep = np.isin(np.arange(size), defence.sample_indices_)
            block = as_samples(px, py, 2)
            weight = np.append(keep, np.zeros(len(px) - size))
            block = block._replace(weight=jnp.asarray(weight, block.weight.dtype))
            predictions = train_and_predict(plan.learner, (block,), plan.schedule, table.x[rows.test])[0]
            errors.append(error_rate(predictions, table.y[rows.test]))
        found[name] = (*errors, float(np.mean(~keep[n:])), float(np.mean(~keep[:n])))
    return found


# --- spectral signatures ---------------------------------------------------------------------------


def spectral_signatures(_pictures: Path | None) -> None:
    data = bg.load("mnist")
    columns = ("poison gone", "clean gone", "backdoor", "clean error")
    for share in BACKDOORED:
        found = {}
        for k in range(NETWORKS):
            split = bg.split_rows(data.n_samples, train=2000, validation=1, seed=0, split=k)
            for key, values in _behind_spectral(data, split, share, seed=k).items():
                found.setdefault(key, []).append(values)
        lines = {key: np.asarray(one).T for key, one in found.items()}
        title = f"Spectral signatures, mnist: {share:.0%} of the sevens are ones with a white patch; 1.5 ε left out (%)"
        show(title, columns, lines)


def _patched(x: np.ndarray) -> np.ndarray:
    """Return images with a white patch of three by three in their lower right corner."""
    images = x.reshape(-1, 28, 28).copy()
    images[:, 24:27, 24:27] = 1.0
    return images.reshape(len(x), -1)


def _network(x, y, seed: int) -> MLPClassifier:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        return MLPClassifier((64,), max_iter=20, random_state=seed).fit(x, y)


def _behind_spectral(data, split, share: float, *, seed: int) -> dict[str, tuple[float, ...]]:
    """Return of each defence the shares of poison and of clean sevens left out, backdoor rate, and clean error."""
    x, y = data.x[split.train], data.y[split.train]
    count = round(share / (1 - share) * np.sum(y == 7))
    spare = split.test[data.y[split.test] == 1][:count]
    px, py = np.concatenate([x, _patched(data.x[spare])]), np.append(y, np.full(count, 7))
    net = _network(px, py, seed)
    test = np.setdiff1d(split.test, spare)
    tx, ty = data.x[test], data.y[test]

    def hidden(rows):
        return np.maximum(rows @ net.coefs_[0] + net.intercepts_[0], 0.0)

    defences = {
        "none": None,
        "hidden layer": SpectralSignatures(fraction=1.5 * share, representation=hidden, sampling_strategy=[7]),
        "pixels": SpectralSignatures(fraction=1.5 * share, sampling_strategy=[7]),
    }
    found = {}
    for name, defence in defences.items():
        keep = np.ones(len(px), bool)
        if defence is not None:
            defence.fit_resample(px, py)
            keep = np.isin(np.arange(len(px)), defence.sample_indices_)
        victim = net if defence is None else _network(px[keep], py[keep], seed)
        backdoor = np.mean(victim.predict(_patched(tx[ty == 1])) == 7)
        gone = float(np.mean(~keep[len(x) :])), float(np.mean(~keep[: len(x)][y == 7]))
        found[name] = (*gone, float(backdoor), error_rate(victim.predict(tx), ty))
    return found


if __name__ == "__main__":
    main()
