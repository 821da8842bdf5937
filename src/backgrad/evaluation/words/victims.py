"""Victims and surrogates by name."""

import dataclasses
from typing import Any

from ...datasets import Dataset
from ...errors import InputError
from ...learners.catalogue import LEARNER_NAMES, default_schedule, learner_names, make_learner
from ...spelling import nearest
from ...threat.knowledge import Member


def split_names(text: str, option: str) -> list[str]:
    """Return the names in a list separated by commas.

    Raises:
        InputError: no name, an empty one, or one that is there twice.
    """
    names = [name.strip() for name in text.split(",")]
    if not all(names):
        raise InputError(f"{option} must be names separated by commas; got {text!r}.")
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise InputError(f"{option} names {', '.join(twice)} twice: name each once.")
    return names


def make_member(text: str, data: Dataset) -> Member:
    """Return a learner with its schedule.

    Args:
        text: one of `LEARNER_NAMES` for the default schedule, then, if wanted, step size and steps and an L2 strength:
            `logistic:0.1x100:l2=0.01`.
        data: the data set.

    Raises:
        InputError: an unknown name, a setting of another form, or a learner that does not fit the data.
    """
    name, *settings = (part.strip() for part in text.split(":"))
    l2, schedule = 0.0, None
    for setting in settings:
        size, cross, steps = setting.partition("x")
        try:
            if setting.startswith("l2="):
                l2 = float(setting.removeprefix("l2="))
            elif cross:
                schedule = float(size), int(steps)
            else:
                raise ValueError
        except ValueError:
            raise InputError(
                f"a learner's settings are step size x steps and l2=, such as logistic:0.1x100:l2=0.01; got {text!r}."
            ) from None
    learner = make_learner(
        name, n_features=data.n_features, n_classes=data.n_classes, l2=l2, regression=data.is_regression
    )
    usual = default_schedule(name)
    if schedule is not None:
        usual = dataclasses.replace(usual, step_size=schedule[0], steps=schedule[1])
    return Member(learner, usual)


def make_surrogates(text: str | None, data: Dataset, *, victim: str) -> dict[str, Member]:
    """Return the learners that stand for an unknown one, at their default schedules.

    Args:
        text: names separated by commas; all that fit the data except the victim's where None.
        data: the data set.
        victim: the victim's learner.

    Raises:
        InputError: an unknown name, or a learner that does not fit the data.
    """
    if text is None:
        fitting = learner_names(data.n_classes, regression=data.is_regression)
        names = [name for name in fitting if name not in (victim, "cnn")]
    else:
        names = split_names(text, "--surrogates")
    return {name: make_member(name, data) for name in names}


def make_victims(text: str | None, data: Dataset) -> dict[str, Any]:
    """Return victims by name: learners at their default schedules, or scikit-learn estimators at their defaults.

    Args:
        text: names separated by commas: those of `LEARNER_NAMES`, with settings if wanted (see `make_member`), or of
            scikit-learn's classes, such as `RandomForestClassifier`; none where None.
        data: the data set.

    Raises:
        InputError: an unknown name, or an estimator that needs settings.
    """
    names = [] if text is None else split_names(text, "--victims")
    return {
        name: make_member(name, data) if name.split(":")[0] in LEARNER_NAMES else _estimator(name, data)
        for name in names
    }


def _estimator(name: str, data: Dataset) -> Any:
    """Return an unfitted scikit-learn estimator at its defaults."""
    from sklearn.utils import all_estimators

    kind = "regressor" if data.is_regression else "classifier"
    known = dict(all_estimators(type_filter=kind))
    if name not in known:
        near = nearest(name, [*known, *LEARNER_NAMES])
        hint = f"did you mean {near[0]}?" if near else "RandomForestClassifier is one, for example."
        raise InputError(
            f"--victims must be learners ({', '.join(LEARNER_NAMES)}) or {kind}s of scikit-learn; got {name!r}: {hint}"
        )
    try:
        return known[name]()
    except TypeError:
        raise InputError(
            f"--victims names {name}, which cannot be made without settings: evaluate it from Python, with "
            "backgrad.evaluation.transfer."
        ) from None
