r"""What the attacker wants: goals.

The outer objective 𝒜 is maximised by the attacker and computed on untainted validation rows. With ℓ an outer loss,
ω the rows' weights and w(D) the parameters trained on poisoned rows,

    error-generic    𝒜 =  Σ_i ω_i ℓ(y_i, s_i) / Σ_i ω_i        (Muñoz-González et al. 2017, equation 3),
    error-specific   𝒜 = −Σ_i ω_i ℓ(y'_i, s_i) / Σ_i ω_i       (equation 4), y' the labels that the attacker wants.

A goal says which rows count and which labels they should get; every goal goes with every outer loss. Rows of weight 0
in the validation set are absent, which is how a caller attacks any chosen subset of samples.
"""

import abc
import dataclasses
from typing import Any

import equinox as eqx
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from ..checks import check_kind, is_whole, native, shown
from ..devices import on_host
from ..errors import InputError
from ..types import Params, Samples
from .losses import LearnerLoss, LogLoss, OuterLoss, SmoothZeroOne


class Goal(eqx.Module):
    """What the attacker wants of the validation rows."""

    outer_loss: eqx.AbstractVar[OuterLoss]

    def __check_init__(self):
        check_kind(OuterLoss, "an outer loss, such as LogLoss()", outer_loss=self.outer_loss)

    @abc.abstractmethod
    def wanted(self, validation: Samples) -> tuple[Samples, Any]:
        """Return the rows that count, under the labels that matter, and the sign of the loss that is maximised."""

    @abc.abstractmethod
    def check(self, validation: Samples) -> None:
        """Raise `InputError` unless the goal makes sense on these rows."""

    @abc.abstractmethod
    def describe(self) -> dict[str, Any]:
        """Return the goal in words and settings, for results."""

    def value(self, learner: Any, params: Params, validation: Samples) -> Float[Array, ""]:
        """Return 𝒜 of a model on validation rows."""
        rows, sign = self.wanted(validation)
        scores = learner.scores(params, rows.x)
        k = rows.y.shape[1]
        # One number a row is taken for log-odds, but by a learner's own loss.
        one = scores.ndim == 1 and (k == 2 or isinstance(self.outer_loss, LearnerLoss))
        if scores.shape != rows.y.shape and not one:
            shape = "(n,)" if scores.ndim == 1 else f"(n, {scores.shape[1]})"
            raise InputError(
                f"{type(learner).__name__}.scores must return (n, {k}){', or (n,),' if k == 2 else ''} for rows of y "
                f"of shape (n, {k}); got {shape}."
            )
        losses = self.outer_loss(learner, scores, rows.y, rows.weight)
        return sign * jnp.sum(rows.weight * losses) / jnp.sum(rows.weight)

    def held(self) -> "Goal":
        """Return the goal whose gradient a search climbs, see `OuterLoss.held`."""
        loss = self.outer_loss.held()
        return self if loss is self.outer_loss else dataclasses.replace(self, outer_loss=loss)

    def swap(self, n_classes: int, *, sources: bool = False) -> dict[int, int] | None:
        """Return the classes whose rows points start from, each with the wrong label they get; None for all, any.

        Args:
            n_classes: k.
            sources: whether attacked classes alone are wanted.
        """
        del n_classes, sources
        return None

    def hits(self, labels, predictions) -> np.ndarray | None:
        """Tell which attacked rows got the label the attacker wants, or None where any error will do.

        Args:
            labels: true labels 0..k−1, (n,).
            predictions: the poisoned model's, (n,).

        Returns:
            One truth value for each row that is attacked.
        """
        del labels, predictions
        return None

    def _described(self, violation: str, specificity: str) -> dict[str, Any]:
        return {
            "violation": violation,
            "error_specificity": specificity,
            "outer_loss": type(self.outer_loss).__name__,
            **{name: value for name, value in vars(self.outer_loss).items() if isinstance(value, float)},
        }


def _check_classes(classes, validation: Samples) -> None:
    known = range(validation.y.shape[1])
    strange = sorted(set(classes) - set(known))
    if strange:
        raise InputError(f"the goal names classes {strange}, but the rows have classes 0 to {known[-1]}.")


def _members(classes: tuple[int, ...], y: Float[Array, "n k"]) -> Float[Array, "n"]:
    """Return by how much each row is of one of the classes, 0 or 1 for hard labels."""
    return jnp.sum(y[:, jnp.asarray(classes, dtype=int)], axis=1)


def _require_rows(weight, what: str) -> None:
    if not on_host(weight).sum() > 0:
        raise InputError(f"no validation row is attacked: {what} has none of positive weight; draw more rows.")


def _require_rows_of(classes: tuple[int, ...], validation: Samples) -> None:
    for one in classes:
        _require_rows(validation.weight * _members((one,), validation.y), f"class {one}")


class ErrorGeneric(Goal):
    """Raise the error, no matter which wrong class rows get.

    Args:
        outer_loss: what is averaged over the validation rows and maximised.
        classes: true classes of the rows that are attacked; all where omitted (indiscriminate), some for a targeted
            attack.
    """

    outer_loss: OuterLoss = SmoothZeroOne()
    classes: tuple[int, ...] | None = eqx.field(default=None, static=True, converter=native)

    def __check_init__(self):
        whole = isinstance(self.classes, tuple) and all(map(is_whole, self.classes))
        if self.classes is not None and not (whole and self.classes and len({*self.classes}) == len(self.classes)):
            raise InputError(
                f"classes must be None for all, or a tuple of different whole numbers, such as (1,) or (0, 3); got "
                f"{shown(self.classes)}."
            )

    def wanted(self, validation: Samples) -> tuple[Samples, Any]:
        """Return the attacked rows under their true labels, and +1."""
        if self.classes is None:
            return validation, 1.0
        return validation._replace(weight=validation.weight * _members(self.classes, validation.y)), 1.0

    def check(self, validation: Samples) -> None:
        """Raise where a class does not exist or has no rows."""
        if self.classes is None:
            _require_rows(validation.weight, "every class")
        else:
            _check_classes(self.classes, validation)
            _require_rows_of(self.classes, validation)

    def describe(self) -> dict[str, Any]:
        """Return the goal in words and settings, for results."""
        specificity = "indiscriminate" if self.classes is None else "targeted"
        extra = {} if self.classes is None else {"classes": list(self.classes)}
        return {**self._described("availability", "generic"), "attack_specificity": specificity, **extra}


class _Frozen(dict):
    """A mapping that can be hashed, so that compiled code can depend on it."""

    def __init__(self, mapping):
        try:
            super().__init__(mapping)
        except (TypeError, ValueError) as error:
            raise _refuse_mapping(mapping) from error

    def __hash__(self):  # pyright: ignore[reportIncompatibleVariableOverride]
        return hash(tuple(sorted(self.items())))


def _refuse_mapping(mapping) -> InputError:
    return InputError(
        f"mapping must send at least one class to another, by their numbers, such as {{8: 3}}; got {shown(mapping)}."
    )


class ErrorSpecific(Goal):
    """Have rows of some classes taken for chosen others.

    Args:
        mapping: from a true class to the label its rows should get, such as {8: 3}; several at once are allowed.
        hold_others: whether rows of all other classes should keep their labels (an integrity violation: the attack
            stays unnoticed), or do not matter (availability).
        outer_loss: what is averaged under the wanted labels, and minimised.

    Raises:
        InputError: an empty mapping, or a class that is mapped to itself.
    """

    mapping: Any = eqx.field(static=True, converter=_Frozen)
    hold_others: bool = eqx.field(default=False, static=True)
    outer_loss: OuterLoss = SmoothZeroOne()

    def __check_init__(self):
        if not self.mapping or not all(map(is_whole, (*self.mapping, *self.mapping.values()))):
            raise _refuse_mapping(dict(self.mapping))
        check_kind(bool, "True or False", hold_others=self.hold_others)
        same = [source for source, target in self.mapping.items() if source == target]
        if same:
            raise InputError(f"mapping must send classes to others; got {same[0]} to itself.")

    def wanted(self, validation: Samples) -> tuple[Samples, Any]:
        """Return the rows under the attacker's labels, those that do not matter with weight 0, and −1."""
        k = validation.y.shape[1]
        move = np.eye(k)
        for source, target in self.mapping.items():
            move[source] = np.eye(k)[target]
        y = validation.y @ jnp.asarray(move, validation.y.dtype)
        if self.hold_others:
            return validation._replace(y=y), -1.0
        attacked = _members(tuple(self.mapping), validation.y)
        return validation._replace(y=y, weight=validation.weight * attacked), -1.0

    def check(self, validation: Samples) -> None:
        """Raise where a class does not exist or has no rows."""
        _check_classes([*self.mapping, *self.mapping.values()], validation)
        _require_rows_of(tuple(self.mapping), validation)

    def swap(self, n_classes: int, *, sources: bool = False) -> dict[int, int]:
        """Return the mapping both ways: sources labelled as their targets, and targets as a source of theirs.

        Args:
            n_classes: k.
            sources: whether only the former are wanted.
        """
        del n_classes
        if sources:
            return dict(self.mapping)
        back = {target: source for source, target in reversed(list(self.mapping.items()))}
        return {**back, **self.mapping}

    def hits(self, labels, predictions) -> np.ndarray:
        """Tell which rows of the mapped classes got the attacker's label."""
        labels, predictions = np.asarray(labels), np.asarray(predictions)
        attacked = np.isin(labels, list(self.mapping))
        return predictions[attacked] == np.asarray([self.mapping[c] for c in labels[attacked].tolist()])

    def describe(self) -> dict[str, Any]:
        """Return the goal in words and settings, for results."""
        violation = "integrity" if self.hold_others else "availability"
        return {
            **self._described(violation, "specific"),
            "attack_specificity": "targeted",
            "mapping": {str(source): target for source, target in self.mapping.items()},
            "hold_others": self.hold_others,
        }


class SampleTargets(Goal):
    """Have single validation rows taken for chosen labels.

    Args:
        targets: the wanted label of every validation row, (n,); −1 where a row does not matter.
        outer_loss: what is averaged under the wanted labels, and minimised. `SmoothZeroOne` is for many rows: it
            measures margins in the mean one of those that matter, and a single row always has that.
    """

    targets: Any
    outer_loss: OuterLoss = LogLoss()

    def wanted(self, validation: Samples) -> tuple[Samples, Any]:
        """Return the chosen rows under the attacker's labels, and −1."""
        targets = jnp.asarray(self.targets)
        k, dtype = validation.y.shape[1], validation.y.dtype
        y = jnp.asarray(targets[:, None] == jnp.arange(k), dtype)
        return validation._replace(y=y, weight=jnp.where(targets >= 0, validation.weight, 0.0)), -1.0

    def check(self, validation: Samples) -> None:
        """Raise unless there is one target a row, an existing class or −1."""
        targets = np.asarray(self.targets)
        if targets.shape != validation.weight.shape or not np.issubdtype(targets.dtype, np.integer):
            raise InputError(
                f"targets must be whole numbers of shape {validation.weight.shape}, one a validation row; "
                f"got {targets.dtype} of shape {targets.shape}."
            )
        _check_classes(set(targets[targets != -1].tolist()), validation)
        _require_rows(np.where(targets >= 0, on_host(validation.weight), 0.0), "targets")

    def describe(self) -> dict[str, Any]:
        """Return the goal in words and settings, for results."""
        chosen = int((np.asarray(self.targets) >= 0).sum())
        return {**self._described("integrity", "specific"), "attack_specificity": "targeted", "target_rows": chosen}
