"""Who is audited: estimators by name, from the user's own factory, or as given."""

import dataclasses
import importlib
import re
import sys
import types
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from sklearn.base import clone, is_classifier
from sklearn.impute import SimpleImputer
from sklearn.pipeline import Pipeline, make_pipeline

from ..defences.certified.partition import takes_missing
from ..errors import InputError
from ..identity import identify
from ..learners.base import Member
from ..learners.catalogue import default_schedule
from ..learners.mlp import MLP
from ..learners.preprocessing import Standardised
from ..learners.surrogate import Surrogate, surrogate_for
from .problem import Problem

NAMES = ("logistic", "softmax", "mlp", "svm", "forest")
_PATH = re.compile(r"[A-Za-z_]\w*(\.[A-Za-z_]\w*)*:[A-Za-z_]\w*", re.ASCII)


@dataclasses.dataclass(frozen=True)
class Audited:
    """An estimator, and what stands for it in an attack.

    Args:
        name: for people.
        victim: an unfitted estimator, or a learner with its schedule.
        surrogate: learners and schedules that gradients are had of.
        description: the estimator in words.
        differentiable: whether points follow the surrogate's gradients; or else the victim is fitted in every trial of
            a search.
    """

    name: str
    victim: Any
    surrogate: Surrogate
    description: str
    differentiable: bool = True


def is_path(spec: str) -> bool:
    """Tell the path of a factory from a name, and from an estimator in memory."""
    return _PATH.fullmatch(spec) is not None and not spec.startswith("held:")


def make_estimator(spec: str) -> Any:
    """Return the unfitted estimator of a name or a factory's path; None for those that are learners of ours.

    Args:
        spec: one of `NAMES`, or `package.module:factory`, a callable without arguments.

    Raises:
        InputError: an unknown name, a module that cannot be imported, or a factory that returns no classifier.
    """
    if spec in ("logistic", "softmax"):
        from sklearn.linear_model import LogisticRegression

        return _scaled(LogisticRegression(max_iter=1000))
    if spec == "svm":
        from sklearn.svm import LinearSVC

        return _scaled(LinearSVC(random_state=0))
    if spec == "forest":
        from sklearn.ensemble import RandomForestClassifier

        return make_pipeline(SimpleImputer(strategy="median"), RandomForestClassifier(random_state=0))
    if spec == "mlp":
        return None
    if not _PATH.fullmatch(spec):
        raise InputError(f"--estimator must be one of {', '.join(NAMES)}, or package.module:factory; got {spec!r}.")
    module, _, name = spec.partition(":")
    try:
        factory = getattr(importlib.import_module(module), name, None)
    except ImportError as error:
        raise InputError(f"--estimator {spec} cannot be imported ({error}): is the module on PYTHONPATH?") from None
    except Exception as error:  # whatever the user's module may raise
        raise InputError(f"--estimator {spec} cannot be imported ({_said(error)}): correct the module.") from error
    if not callable(factory):
        raise InputError(f"--estimator {spec} must name a callable, and {module} has none of that name.")
    try:
        made = factory()
    except Exception as error:  # or the factory
        raise InputError(f"--estimator {spec} must be callable without arguments ({_said(error)}).") from error
    return check_estimator(made, where=f"--estimator {spec}")


def _said(error: Exception) -> str:
    return f"{type(error).__name__}: {error}"[:300]


def check_estimator(estimator: Any, *, where: str) -> Any:
    """Return an estimator; raise unless it is an unfitted classifier that can be cloned."""
    if isinstance(estimator, type) or not (hasattr(estimator, "fit") and hasattr(estimator, "predict")):
        raise InputError(f"{where} must give an unfitted classifier with fit and predict; got {estimator!r}.")
    if hasattr(estimator, "get_params") and not is_classifier(estimator):
        raise InputError(f"{where} must give a classifier; {type(estimator).__name__} is none.")
    return estimator


def identify_estimator(estimator: Any, *, factory: str | None = None) -> str:
    """Return the digest of an estimator: of its settings, and of the code of its classes and its factory.

    Of a class that is in no file, as in a notebook, methods count; of all others, the files of their modules.

    Args:
        estimator: with all that is nested in it.
        factory: the path of the factory that made it.
    """
    settings = estimator.get_params() if hasattr(estimator, "get_params") else {}
    found = dict.fromkeys(map(type, (estimator, *settings.values())))
    kinds = sorted(found, key=lambda kind: (kind.__module__, kind.__qualname__))
    modules = {kind.__module__ for kind in kinds} | ({factory.partition(":")[0]} if factory else set())
    sources = {name: _source(name) for name in sorted(modules)}
    methods = [
        [part for part in vars(kind).values() if isinstance(part, types.FunctionType)]
        for kind in kinds
        if sources[kind.__module__] is None
    ]
    return identify("", estimator, sources, methods)


def _source(module: str) -> bytes | None:
    """Return the source of a module that was imported; None of one that is in no file, or not in Python."""
    file = getattr(sys.modules.get(module), "__file__", None) or ""
    try:
        return Path(file).read_bytes() if file.endswith(".py") else None
    except OSError:
        return None


def _scaled(estimator: Any) -> Pipeline:
    from sklearn.preprocessing import StandardScaler

    return make_pipeline(SimpleImputer(strategy="median"), StandardScaler(), estimator)


def make_audited(name: str, estimator: Any, problem: Problem, *, train: int) -> Audited:
    """Return an estimator with what stands for it.

    Args:
        name: for people; of a learner of ours where there is no estimator.
        estimator: an unfitted classifier, or None.
        problem: the rows.
        train: the number of training rows.

    Raises:
        InputError: class weights of a class that there is not.
        UnsupportedError: an estimator that nothing can stand for.
    """
    d, k = problem.x.shape[1], problem.n_classes
    if estimator is None:
        member = Member(Standardised(MLP(d, n_classes=k)), default_schedule("mlp"))
        sentence = "a standardised MLP of ten tanh units, attacked as it is."
        return Audited(name, member, Surrogate((member,), True, sentence), "standardised MLP (10 tanh units)")
    usable = estimator = _with_coded_weights(estimator, problem)
    if np.isnan(problem.x).any() and not takes_missing(estimator):
        usable = make_pipeline(SimpleImputer(strategy="median"), clone(estimator))
    # Rows that are attacked have no gap: medians fill those of all others before anything is trained on them.
    stand_in = surrogate_for(_without_imputers(estimator), n_features=d, n_classes=k, n_samples=train)
    if stand_in.exact and np.isnan(problem.x).any() and not _fills_with_medians(usable):
        said = f"{stand_in.sentence[:-1]}; gaps, which the pipeline fills otherwise, are filled with medians."
        stand_in = dataclasses.replace(stand_in, exact=False, sentence=said)
    differentiable = len(stand_in.members) == 1  # what has no gradient is stood in for by several learners
    return Audited(name, usable, stand_in, _describe(usable), differentiable)


def join_surrogates(name: str, parts: Sequence[Audited]) -> Audited:
    """Return what stands for several estimators at once; the first of them is its victim."""
    members = tuple(member for part in parts for member in part.surrogate.members)
    sentence = f"the surrogates of {', '.join(part.name for part in parts)} at once."
    return Audited(name, parts[0].victim, Surrogate(members, False, sentence), sentence)


def _with_coded_weights(estimator: Any, problem: Problem) -> Any:
    """Return an estimator whose class weights name the classes 0..k−1, as the labels do that it is fitted on."""
    settings = estimator.get_params() if hasattr(estimator, "get_params") else {}
    coded = {
        name: {_code_of(label, problem): weight for label, weight in value.items()}
        for name, value in settings.items()
        if name.endswith("class_weight") and isinstance(value, dict)
    }
    if not coded:
        return estimator
    copy: Any = clone(estimator)
    return copy.set_params(**coded)


def _code_of(label: Any, problem: Problem) -> int:
    """Return the number of a class by its label, or by its name: all labels of a file are texts."""
    for code, (known, name) in enumerate(zip(problem.classes, problem.class_names, strict=True)):
        if label == known or str(label) == name:
            return code
    raise InputError(
        f"class_weight must name classes of {problem.name} ({', '.join(problem.class_names)}); got {label!r}: "
        "correct it."
    )


def _fills_with_medians(estimator: Any) -> bool:
    first = estimator.steps[0][1] if isinstance(estimator, Pipeline) else None
    return isinstance(first, SimpleImputer) and first.strategy == "median" and not first.add_indicator


def _without_imputers(estimator: Any) -> Any:
    """Return a pipeline without the imputers that it begins with."""
    if not isinstance(estimator, Pipeline):
        return estimator
    steps = list(estimator.steps)
    while len(steps) > 1 and isinstance(steps[0][1], SimpleImputer):
        steps.pop(0)
    return Pipeline(steps) if len(steps) > 1 else steps[0][1]


def _describe(estimator: Any) -> str:
    """Name an estimator and the steps of a pipeline."""
    if isinstance(estimator, Pipeline):
        return f"Pipeline({', '.join(_step_names(estimator))})"
    return type(estimator).__name__


def _step_names(pipeline: Pipeline) -> list[str]:
    """Return the names of all steps, those of pipelines within included."""
    parts = [_step_names(step) if isinstance(step, Pipeline) else [type(step).__name__] for _, step in pipeline.steps]
    return [name for part in parts for name in part]
