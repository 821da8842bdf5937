"""ART's poisoning attack on a linear SVM beside ours: the same rows, start, points and gradients a point.

ART (the Adversarial Robustness Toolbox) has the attack of Biggio, Nelson and Laskov (2012), which optimises one point
after another and refits the SVM at every step; ours moves all points together against a smoothed SVM. Both are judged
by the same victim, scikit-learn's `SVC(kernel="linear")` retrained on clean rows and points.
"""

import importlib.util
import time
from typing import NamedTuple

import jax.numpy as jnp
import numpy as np
from sklearn.svm import SVC

import backgrad as bg
from backgrad.learners.catalogue import default_schedule, make_learner

from .options import Options
from .problem import Rows, Setting, load_setting
from .table import Grid, Section

_GRADIENTS, _POINTS, _DATA = 10, 5, "mnist-1-7"
_STEP = 1.0


class Side(NamedTuple):
    """One side's points, and the seconds it took to make them."""

    points: Rows
    seconds: float


def art_section(options: Options) -> Section:
    """Compare time and damage, where ART is installed."""
    del options
    title = "9. ART's poisoning attack on a linear SVM"
    if importlib.util.find_spec("art") is None:
        facts = ("Not run: ART is not installed (pip install adversarial-robustness-toolbox).",)
        return Section("art", title, ("", ""), (), facts)
    setting = load_setting(_DATA)
    setting = setting._replace(points=setting.points.take(np.arange(_POINTS)))
    ours = run_ours(setting)
    sides = {"start (label flips)": Side(setting.points, 0.0), "ART": run_art(setting), "backgrad, first call": ours}
    sides["backgrad, then"] = run_ours(setting)
    clean = victim_error(setting, None)
    rows = tuple(
        (name, f"{side.seconds:.2f}", f"{side.seconds / _POINTS:.3f}", f"{victim_error(setting, side.points):.1%}")
        for name, side in sides.items()
    )
    facts = (
        f"{_DATA}: {len(setting.train.y)} training rows, {_POINTS} points, {_GRADIENTS} gradients a point; the",
        f"error is the retrained SVM's on all rows that no side has seen, {clean:.1%} without points.",
    )
    values = {
        name: {"seconds": side.seconds, "error": victim_error(setting, side.points)} for name, side in sides.items()
    }
    grid = Grid(("", "seconds", "a point", "test error"), rows)
    return Section("art", title, ("", ""), (), facts, grid, {"clean_error": clean, "sides": values})


def victim_error(setting: Setting, points: Rows | None) -> float:
    """Return the share of unseen rows that an SVM gets wrong, trained on clean rows and points."""
    table = bg.load(_DATA)
    train, validation = len(setting.train.y), len(setting.validation.y)
    split = bg.split_rows(table.n_samples, train=train, validation=validation, seed=0, split=0)
    rows = setting.train if points is None else setting.train.join(points)
    victim = SVC(kernel="linear").fit(rows.x, rows.y)
    return float(np.mean(victim.predict(table.x[split.test]) != table.y[split.test]))


def run_ours(setting: Setting) -> Side:
    """Move all points together, against a smoothed SVM of the same regularisation: λ = 1 / (C n), C = 1."""
    train, validation = setting.train.samples(jnp.float32), setting.validation.samples(jnp.float32)
    n = len(setting.train.y) + _POINTS
    learner = make_learner("svm", n_features=setting.train.x.shape[1], n_classes=2, l2=1 / n)
    begin = time.perf_counter()
    found = bg.JointAttack(_GRADIENTS).craft(
        learner,
        train,
        validation,
        schedule=default_schedule("svm"),
        threat=bg.ThreatModel(_POINTS, feasible=bg.Box(0.0, 1.0)),
        seed=0,
        start=(setting.points.x, setting.points.y),
    )
    return Side(Rows(np.asarray(found.points, np.float64), found.labels), time.perf_counter() - begin)


def run_art(setting: Setting) -> Side:
    """Run ART's attack from the same points."""
    from art.attacks.poisoning import PoisoningAttackSVM
    from art.estimators.classification.scikitlearn import ScikitlearnSVC

    def one_hot(labels: np.ndarray) -> np.ndarray:
        return np.eye(2)[labels]

    train, validation, points = setting
    # Said outright: ART takes scikit-learn's "not given" for yes, and asks for probabilities that are not there.
    classifier = ScikitlearnSVC(SVC(kernel="linear", probability=False), clip_values=(0.0, 1.0))
    classifier.fit(train.x, one_hot(train.y))
    np.random.seed(0)  # noqa: NPY002 - ART draws from NumPy's global generator
    begin = time.perf_counter()
    attack = PoisoningAttackSVM(
        classifier,
        _STEP,
        eps=np.inf,  # ART stops once a step gains more than this: never, so that each side takes all its gradients
        x_train=train.x,
        y_train=one_hot(train.y),
        x_val=validation.x,
        y_val=one_hot(validation.y),
        max_iter=_GRADIENTS,
        verbose=False,
    )
    moved, _ = attack.poison(points.x.copy(), y=one_hot(points.y))
    return Side(Rows(np.asarray(moved, np.float64), points.y), time.perf_counter() - begin)
