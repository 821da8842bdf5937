r"""A scikit-learn classifier as something that can be differentiated: its learner and schedule, or the nearest ones.

`surrogate_for` reads an estimator's settings and never its fitted state. Linear classifiers that minimise a loss become
the learner of that loss, trained to convergence; those trained by stochastic steps become the same steps with other
random numbers; steps of a pipeline become preprocessing that is refitted on the poisoned rows. All else, such as
forests, kernels and neighbours, is stood in for by an ensemble of three learners. The surrogate says which.
"""

import dataclasses
import functools
import math
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import jax
import optax
from sklearn.base import is_regressor
from sklearn.feature_selection import SelectKBest, VarianceThreshold, f_classif
from sklearn.linear_model import LogisticRegression as SklearnLogisticRegression
from sklearn.linear_model import Perceptron, RidgeClassifier, SGDClassifier
from sklearn.neural_network import MLPClassifier
from sklearn.pipeline import Pipeline
from sklearn.preprocessing import FunctionTransformer, MaxAbsScaler, MinMaxScaler, StandardScaler
from sklearn.svm import SVC, LinearSVC

from ..checks import check_count, is_whole
from ..errors import InputError, UnsupportedError
from ..schedules import Converged, Descent
from .base import Member
from .linear import LogisticRegression, SoftmaxRegression
from .mlp import MLP
from .preprocessing import MaxAbsScaled, MinMaxScaled, Selected, Standardised, VarianceSelected
from .sklearn_like import ClassWeighted, Intercept, OneVsRest, SklearnMLP, SumOfLosses, row_steps

# Newton's method solves a dense system of as many unknowns as parameters at every step.
_NEWTON_LIMIT = 1500
# Steps of a stochastic surrogate: each is run, and run back, once for every step of an attack.
_MOST_STEPS = 20_000
# scikit-learn takes no penalty at all for an answer where classes are separable, and there is none.
_LEAST_L2 = 1e-4


@dataclasses.dataclass(frozen=True)
class Surrogate:
    """What stands for an estimator.

    Args:
        members: one learner and schedule, or an ensemble of them.
        exact: whether the one member solves the estimator's own problem on every set of rows, so that both agree but
            for the solver's tolerance.
        sentence: what stands for what.
    """

    members: tuple[Member, ...]
    exact: bool
    sentence: str


class _Shape(NamedTuple):
    """The shape of the rows, and the estimator's names of the classes."""

    d: int
    k: int
    n: int
    classes: tuple


class _Build(NamedTuple):
    """Members, and what they do differently from the estimator: nothing where they are exact."""

    members: tuple[Member, ...]
    differences: tuple[str, ...] = ()


def surrogate_for(
    estimator: Any, *, n_features: int, n_classes: int, n_samples: int, classes: Sequence | None = None
) -> Surrogate:
    """Return what stands for a scikit-learn classifier in an attack.

    Args:
        estimator: a classifier or a pipeline that ends in one; it need not be fitted.
        n_features: d, of the rows that the whole pipeline is given.
        n_classes: k.
        n_samples: n, roughly how many rows it is trained on, from which the number of stochastic steps follows.
        classes: the estimator's names of the classes 0..k−1, which a dictionary of class weights needs; 0..k−1 where
            omitted.

    Returns:
        Learners and schedules, whether they are exact, and a sentence for reports.

    Raises:
        InputError: sizes that are not positive, fewer than two classes, or class weights of classes that do not exist.
        UnsupportedError: the estimator is a regressor, or has no fit and predict.
    """
    check_count(n_features=n_features, n_samples=n_samples)
    check_count(least=2, n_classes=n_classes)
    name = type(estimator).__name__
    if isinstance(estimator, type) or not (hasattr(estimator, "fit") and hasattr(estimator, "predict")):
        raise UnsupportedError(f"estimator must be a classifier with fit and predict; got {estimator!r}.")
    if is_regressor(estimator):
        raise UnsupportedError(f"surrogates stand for classifiers, but {name} is a regressor: give a classifier.")
    shape = _Shape(n_features, n_classes, n_samples, tuple(range(n_classes) if classes is None else classes))
    steps, final = _flatten(estimator)
    build = _BUILDERS.get(type(final), _ensemble)(final, shape)
    wrap, changes = _preprocessing(steps, n_features)
    members = tuple(Member(wrap(member.learner), member.schedule) for member in build.members)
    differences = changes + build.differences
    return Surrogate(members, not differences, _sentence(estimator, final, members, differences))


def _sentence(estimator: Any, final: Any, members: tuple[Member, ...], differences: tuple[str, ...]) -> str:
    """Say what stands for what."""
    name = type(final).__name__
    whole = f"a pipeline that ends in {name}" if isinstance(estimator, Pipeline) else name
    if len(members) > 1:
        known = f"{name} is not differentiable: an ensemble of {len(members)} learners stands for it"
        return "; ".join((known, *differences[:-1])) + "."
    if not differences:
        return f"{whole} is trained as it is, to convergence."
    return f"a differentiable copy stands for {whole}: {'; '.join(differences)}."


def _flatten(estimator: Any) -> tuple[list[Any], Any]:
    """Return the steps of a pipeline, nested ones included, and the classifier at its end."""
    if not isinstance(estimator, Pipeline):
        return [], estimator
    steps = []
    for _, step in estimator.steps[:-1]:
        inner, last = _flatten(step)
        steps += [*inner, last]
    inner, final = _flatten(estimator.steps[-1][1])
    return [s for s in steps + inner if not _passes_through(s)], final


def _passes_through(step: Any) -> bool:
    return step is None or step == "passthrough" or (type(step) is FunctionTransformer and step.func is None)


def _preprocessing(steps: list[Any], d: int) -> tuple[Callable[[Any], Any], tuple[str, ...]]:
    """Return what puts a pipeline's steps around a learner, and what that does differently."""
    read = [_read_step(step, d) for step in steps]
    differences = tuple(difference for _, difference in read if difference)
    masks = [isinstance(step, SelectKBest | VarianceThreshold) for step in steps]
    for i, step in enumerate(steps):
        if isinstance(step, MinMaxScaler) and step.feature_range[0] != 0 and any(masks[:i]):
            differences += ("columns that are not selected are constant instead of absent",)
    wrappers = [wrap for wrap, _ in read if wrap is not None]
    return lambda learner: functools.reduce(lambda inner, wrap: wrap(inner), reversed(wrappers), learner), differences


def _read_step(step: Any, d: int) -> tuple[Callable[[Any], Any] | None, str]:
    """Return the wrapper of one step, if it needs one, and what that does differently."""
    wrap, difference = None, ""
    if type(step) is StandardScaler:  # subclasses may do anything
        wrap = functools.partial(Standardised, with_mean=step.with_mean, with_std=step.with_std)
    elif type(step) is MinMaxScaler:
        low, high = (float(end) for end in step.feature_range)
        wrap = functools.partial(MinMaxScaled, feature_range=(low, high))
        difference = "MinMaxScaler does not clip new rows" if step.clip else ""
    elif type(step) is MaxAbsScaler:
        wrap = MaxAbsScaled
    elif type(step) is VarianceThreshold:
        wrap = functools.partial(VarianceSelected, threshold=float(step.threshold))
    elif type(step) is not SelectKBest:
        difference = f"the step {type(step).__name__} is left out"
    elif step.k != "all" and step.k < d:
        wrap = functools.partial(Selected, n_selected=int(step.k))
        difference = "" if step.score_func is f_classif else "SelectKBest chooses by f_classif"
    return wrap, difference


def _converged(learner: Any, shape: _Shape, *differences: str) -> _Build:
    """Train to convergence, by Newton's method where the parameters are few."""
    size = (shape.d + 1) * (1 if shape.k == 2 else shape.k)
    schedule = Converged("newton") if size <= _NEWTON_LIMIT else Converged("lbfgs", tolerance=1e-6, max_steps=5000)
    return _Build((Member(learner, schedule),), differences)


def _weighted(learner: Any, class_weight: Any, shape: _Shape, *, machines: bool) -> Any:
    """Put class weights around a learner.

    Args:
        learner: the learner.
        class_weight: None, `"balanced"` or a dictionary.
        shape: of the rows.
        machines: whether scikit-learn weighs losses of classes in their own machine alone, where there are several.
    """
    weights = _class_weights(class_weight, shape)
    return learner if weights is None else ClassWeighted(learner, weights, machines)


def _class_weights(class_weight: Any, shape: _Shape) -> Any:
    """Return scikit-learn's class weights, those of a dictionary as one number a class."""
    if class_weight is None or isinstance(class_weight, str):
        return class_weight
    if strange := [name for name in class_weight if name not in shape.classes]:
        raise InputError(f"class_weight names {strange}, but classes are {list(shape.classes)}: name them as classes.")
    return tuple(float(class_weight.get(c, 1.0)) for c in shape.classes)


def _with_intercept(learner: Any, present: bool, *, scaling: float | None = None) -> Any:
    """Leave out an intercept, penalise it (with a scaling), or leave it as it is."""
    if not present:
        return Intercept(learner)
    return learner if scaling is None else Intercept(learner, scaling)


def _inverse_strength(c: float) -> tuple[float, tuple[str, ...]]:
    """Return λ of scikit-learn's C, and a difference where it is 0."""
    if math.isinf(c):
        return _LEAST_L2, (f"an L2 strength of {_LEAST_L2:g} stands for no penalty",)
    return 1.0 / c, ()


_L1 = "an L2 penalty of the same strength stands for its L1 penalty"


def _logistic(estimator: Any, shape: _Shape) -> _Build:
    """Read a LogisticRegression."""
    penalty, ratio = estimator.penalty, estimator.l1_ratio
    l2, differences = _inverse_strength(math.inf if penalty is None else estimator.C)
    if penalty == "l1" or (penalty in ("deprecated", "elasticnet") and ratio):
        differences += (_L1,)
    liblinear = estimator.solver == "liblinear"
    separate = shape.k > 2 and (liblinear or getattr(estimator, "multi_class", None) == "ovr")
    if separate:
        learner = OneVsRest(shape.d, l2, shape.k, "log")
    elif shape.k == 2:
        learner = LogisticRegression(shape.d, l2)
    else:
        learner = SoftmaxRegression(shape.d, l2, shape.k)
    scaling = float(estimator.intercept_scaling) if liblinear else None
    learner = SumOfLosses(_with_intercept(learner, estimator.fit_intercept, scaling=scaling))
    # Both ways to separate classes weigh the rows of class c in its own machine alone only in liblinear.
    learner = _weighted(learner, estimator.class_weight, shape, machines=liblinear and separate)
    return _converged(learner, shape, *differences)


def _linear_svc(estimator: Any, shape: _Shape) -> _Build:
    """Read a LinearSVC, whose intercept is penalised."""
    l2, differences = _inverse_strength(estimator.C)
    if estimator.penalty == "l1":
        differences += (_L1,)
    if estimator.multi_class != "ovr":  # two classes have a weight vector each there, too
        differences += ("every class against the others stands for crammer_singer",)
    if estimator.loss == "hinge":
        differences += (_ROUNDED,)
    learner = OneVsRest(shape.d, l2, shape.k, estimator.loss)
    scaling = float(estimator.intercept_scaling)
    learner = SumOfLosses(_with_intercept(learner, estimator.fit_intercept, scaling=scaling))
    return _converged(_weighted(learner, estimator.class_weight, shape, machines=True), shape, *differences)


_ROUNDED = f"the corner of its hinge is rounded over margins of 1 ± {OneVsRest.smoothing:g}"


def _svc(estimator: Any, shape: _Shape) -> _Build:
    """Read an SVC, of which linear kernels alone are learners."""
    if estimator.kernel != "linear":
        return _ensemble(estimator, shape)
    l2, differences = _inverse_strength(estimator.C)
    differences += (_ROUNDED,)
    if shape.k > 2:
        differences += ("every class against the others stands for every pair of classes",)
    learner = SumOfLosses(OneVsRest(shape.d, l2, shape.k, "hinge"))
    return _converged(_weighted(learner, estimator.class_weight, shape, machines=False), shape, *differences)


def _ridge(estimator: Any, shape: _Shape) -> _Build:
    """Read a RidgeClassifier: least squares on labels of ±1."""
    differences = ("its weights may be negative",) if estimator.positive else ()
    learner = OneVsRest(shape.d, float(estimator.alpha), shape.k, "squared")
    learner = SumOfLosses(_with_intercept(learner, estimator.fit_intercept))
    return _converged(_weighted(learner, estimator.class_weight, shape, machines=False), shape, *differences)


_SGD_LOSSES = {"log_loss": "log", "squared_error": "squared"}
_SGD_LOSSES |= {name: name for name in ("hinge", "modified_huber", "perceptron")}
_SEEDS = "its random numbers and the end of its training differ"


# scikit-learn ends where a loss no longer falls; for that stand so many passes at most, of so many rows a step at
# least (with one alone, steps are four times as many and agree with scikit-learn's hardly better), in so many steps.
_PACE = (50.0, 4, _MOST_STEPS)
_PACES = {
    "perceptron": (15.0, 4, _MOST_STEPS),
    # Its slopes of up to 4 settle late, after 30 to 600 passes, and less well where rows are taken together.
    "modified_huber": (300.0, 2, 4 * _MOST_STEPS),
}


def _sgd(estimator: Any, shape: _Shape) -> _Build:
    """Read an SGDClassifier or a Perceptron."""
    # Steps of a squared hinge overshoot until scikit-learn cuts slopes off at 10¹², and are a hinge's from there on.
    loss = _SGD_LOSSES.get(estimator.loss, "hinge")
    differences = () if estimator.loss in _SGD_LOSSES else (f"a hinge stands for its loss {estimator.loss!r}",)
    if estimator.penalty in ("l1", "elasticnet"):
        differences += (_L1,)
    l2 = float(estimator.alpha) if estimator.penalty else 0.0
    learner = _with_intercept(OneVsRest(shape.d, l2, shape.k, loss), estimator.fit_intercept)
    if loss == "squared":
        # Single steps on a squared loss blow up on all but small features, where its optimum is what they are after.
        learner = _weighted(learner, estimator.class_weight, shape, machines=True)
        return _converged(learner, shape, *differences, "the optimum of its loss stands for its last step")
    rate = estimator.learning_rate
    if rate not in ("optimal", "invscaling", "constant"):
        differences += (f"a constant step size stands for {rate!r}",)
    if getattr(estimator, "average", False):
        differences += ("its last step stands for the average of its steps",)
    most, least, limit = _PACES.get(loss, _PACE)
    passes = min(max(5.0, 160_000 / shape.n), most, float(estimator.max_iter))
    batch = min(max(least, math.ceil(passes * shape.n / limit)), shape.n)
    settings = (float(value) for value in (estimator.alpha, estimator.eta0, estimator.power_t))
    learner = row_steps(learner, _class_weights(estimator.class_weight, shape))
    schedule = Descent(
        math.ceil(passes * shape.n / batch),
        batch_size=batch,
        optimiser=_sgd_optimiser(rate, batch, *settings),
        key=_key(estimator),
    )
    return _Build((Member(learner, schedule),), (*differences, _SEEDS))


# An optimiser is hashed by its functions, so equal settings must give one object, or training is compiled anew.
@functools.cache
def _sgd_optimiser(rate: str, batch: int, alpha: float, eta: float, power: float):
    """Return scikit-learn's step sizes, for steps of several rows, whose gradients are added."""
    if rate == "optimal":
        # scikit-learn would lower the first one by the loss's slope, but reads that with a sign by which it never does.
        first = alpha**-0.25
        return optax.sgd(lambda step: batch / (1.0 / first + alpha * batch * step))
    if rate == "invscaling":
        return optax.sgd(lambda step: batch * eta / (batch * step + 1.0) ** power)
    return optax.sgd(batch * eta)


@functools.cache
def _mlp_optimiser(solver: str, rate: float, settings: tuple):
    """Return the optimiser of an MLPClassifier."""
    if solver == "adam":
        return optax.adam(rate, *settings)
    if solver == "sgd":
        momentum, nesterov, power, rows = settings
        size = rate if power is None else lambda step: rate / (step * rows + 1.0) ** power
        return optax.sgd(size, momentum or None, nesterov)
    return optax.adam(optax.cosine_decay_schedule(rate, settings[0]))


def _mlp(estimator: Any, shape: _Shape) -> _Build:
    """Read an MLPClassifier."""
    sizes = estimator.hidden_layer_sizes
    hidden = (int(sizes),) if is_whole(sizes) else tuple(int(size) for size in sizes)
    l2 = float(estimator.alpha)
    learner = SumOfLosses(
        SklearnMLP(n_features=shape.d, n_classes=shape.k, hidden=hidden, l2=l2, nonlinearity=estimator.activation)
    )
    if estimator.solver == "lbfgs":
        # L-BFGS has no steps to go back through, and where it stops is no stationary point.
        schedule = Descent(2000, optimiser=_mlp_optimiser("lbfgs", 0.05, (2000,)), key=_key(estimator))
        return _Build((Member(learner, schedule),), ("2,000 steps of Adam on all rows stand for its L-BFGS", _SEEDS))
    batch = min(200 if estimator.batch_size == "auto" else int(estimator.batch_size), shape.n)
    steps = min(estimator.max_iter * math.ceil(shape.n / batch), _MOST_STEPS)
    if estimator.solver == "adam":
        settings = (estimator.beta_1, estimator.beta_2, estimator.epsilon)
    else:
        power = estimator.power_t if estimator.learning_rate == "invscaling" else None
        settings = (estimator.momentum, estimator.nesterovs_momentum, power, batch)
    optimiser = _mlp_optimiser(estimator.solver, float(estimator.learning_rate_init), settings)
    schedule = Descent(steps, batch_size=batch, optimiser=optimiser, key=_key(estimator))
    return _Build((Member(learner, schedule),), (_SEEDS,))


def _key(estimator: Any):
    """Return a key that follows the estimator's seed, where it has one."""
    seed = estimator.random_state
    return jax.random.key(int(seed) if is_whole(seed) else 0)


def _ensemble(estimator: Any, shape: _Shape) -> _Build:
    """Return three learners of different kinds, on standardised features."""
    del estimator
    d, k = shape.d, shape.k
    logistic = LogisticRegression(d, 1.0) if k == 2 else SoftmaxRegression(d, 1.0, k)
    machines = [_converged(SumOfLosses(one), shape).members[0] for one in (logistic, OneVsRest(d, 1.0, k))]
    network = Member(
        MLP(d, n_classes=k, hidden=(20,), l2=1e-3), Descent(500, optimiser=_mlp_optimiser("lbfgs", 0.05, (500,)))
    )
    members = tuple(Member(Standardised(one.learner), one.schedule) for one in (*machines, network))
    return _Build(members, ("they differ in kind",))


_BUILDERS: dict[type, Callable[[Any, _Shape], _Build]] = {
    SklearnLogisticRegression: _logistic,
    LinearSVC: _linear_svc,
    SVC: _svc,
    RidgeClassifier: _ridge,
    SGDClassifier: _sgd,
    Perceptron: _sgd,
    MLPClassifier: _mlp,
}
