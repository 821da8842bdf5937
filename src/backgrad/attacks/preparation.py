"""What a search is given, made of what an attacker was given: starting points, a feasible set, and the objective."""

import dataclasses
from typing import Any, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh

from ..adjoints.base import Adjoint
from ..checks import check_kind, check_seed, shown
from ..devices import on_host, replicate, row_mesh, spread_rows
from ..errors import InputError, UnsupportedError
from ..hosted import Block, HostFeatures, HostRows
from ..row_checks import check_learner, check_samples
from ..schedules import Schedule
from ..threat.compose import Columns
from ..threat.evasion import Evasion
from ..threat.feasible import FeasibleSet
from ..threat.goals import ErrorSpecific, SampleTargets
from ..threat.labels import ChosenLabels, ChosenResponses, LabelRule
from ..threat.losses import LogLoss, SmoothZeroOne
from ..threat.model import ThreatModel
from ..training import choose_adjoint
from ..types import Samples, one_hot
from .objective import OuterObjective, group_members
from .starts import far_responses, flipped_rows, is_one_hot, require_classes


class Prepared(NamedTuple):
    """What a search is given.

    Args:
        objective: what to maximise.
        feasible: where points may live; where labels move, of features and labels side by side.
        start: feasible points, (p, d), or (p, d + k) where labels move.
        threat: the attacker, with a feasible set that leaves out what a known defence would remove.
    """

    objective: OuterObjective
    feasible: FeasibleSet
    start: jax.Array
    threat: ThreatModel


def prepare(
    learner: Any,
    train: Block,
    validation: Samples,
    *,
    schedule: Schedule,
    threat: ThreatModel,
    seed: int,
    adjoint: Adjoint | None = None,
    start: tuple[np.ndarray, np.ndarray] | None = None,
    devices: int | str | Mesh | None = None,
) -> Prepared:
    """Check what an attack was given, and return what its search needs; arguments as in `Attack.craft`.

    Raises:
        InputError: rows that do not fit, more points than rows, starting points outside the feasible set, or more
            devices than there are.
    """
    mesh = row_mesh(devices)
    check_learner(learner)
    begin, feasible, soft, threat = prepare_start(learner, train, validation, threat=threat, seed=seed, start=start)
    objective = make_objective(
        learner, train, validation, schedule=schedule, threat=threat, labels=soft, adjoint=adjoint, mesh=mesh
    )
    return Prepared(objective, feasible, replicate(begin, mesh), threat)


def prepare_start(
    learner: Any,
    train: Block,
    validation: Samples,
    *,
    threat: ThreatModel,
    seed: int,
    start: tuple[np.ndarray, np.ndarray] | None = None,
) -> tuple[jax.Array, FeasibleSet, jax.Array, ThreatModel]:
    """Check rows and start, and return feasible points, where they may live, their soft labels, and the attacker.

    Arguments, and what is returned, as in `prepare`; soft labels are (p, k).
    """
    for rows in (train, validation):
        check_samples(learner, (rows,))
    check_kind(ThreatModel, "a threat model, such as ThreatModel(budget=10)", threat=threat)
    check_seed(seed)
    if start is not None and not (isinstance(start, tuple | list) and len(start) == 2):
        raise InputError(f"start must be None, or features and labels of the points, (x, labels); got {shown(start)}.")
    threat.goal.check(validation)
    classes = is_one_hot(on_host(train.y), on_host(train.weight))
    _check_kind(learner, train, validation, threat, classes=classes)
    points, labels = start_points(train, threat, seed) if start is None else start
    soft = _soft_labels(labels, train, threat, classes=classes)
    # What a defence lets pass depends on labels: those that follow from features are not known before points move.
    if threat.evasion is not None and type(threat.labels).assign is LabelRule.assign:
        # What a defence would remove is no start for those who know it.
        threat = dataclasses.replace(threat, feasible=threat.evasion.within(threat.feasible, soft))
        points = threat.feasible.project(jnp.asarray(points, train.x.dtype))
    inside = _feasible_start(points, train, threat)
    threat.labels.check(np.asarray(inside), soft.shape[1])
    feasible, begin = _with_labels(threat, inside, soft)
    return begin, feasible, soft, threat


def make_objective(
    learner: Any,
    train: Block,
    validation: Samples,
    *,
    schedule: Schedule,
    threat: ThreatModel,
    labels: jax.Array,
    adjoint: Adjoint | None = None,
    mesh: Mesh | None = None,
) -> OuterObjective:
    """Return the attacker's objective as a function of the points.

    Args:
        learner: the learner to attack.
        train: the clean training rows, with one-hot labels.
        validation: the rows on which the attacker measures success.
        schedule: how the learner is trained, on the attacker's assumption.
        threat: goal, knowledge and labels.
        labels: soft labels of the points, (p, k).
        adjoint: how hypergradients are computed; exact for the schedule where omitted.
        mesh: of the devices that rows and points are spread over, from `backgrad.devices.row_mesh`.
    """
    if mesh is not None and isinstance(train, HostRows):
        raise UnsupportedError(
            "rows that stay on the host are read by one device: leave devices out, or put the rows into memory."
        )
    groups, sizes = group_members(threat.knowledge.members(learner, schedule), train.x.dtype)
    adjoints = tuple(choose_adjoint(group.schedule, adjoint) for group in groups)
    return OuterObjective(
        groups,
        sizes,
        adjoints,
        threat.goal,
        train if mesh is None or isinstance(train, HostRows) else spread_rows(train, mesh),
        validation if mesh is None else spread_rows(validation, mesh),
        labels,
        threat.labels,
        threat.knowledge.caution,
        _numbers_as_arrays(threat.evasion, train.x.dtype),
        mesh,
    )


def _numbers_as_arrays(evasion: Evasion | None, dtype) -> Evasion | None:
    """Return an evasion with arrays for what attackers of one defence differ in, so that they share one compilation.

    Other numbers stay: a defence may need theirs in Python, to count rows with.
    """
    if evasion is None:
        return None
    given = tuple(jnp.asarray(value, dtype) for value in (evasion.margin, evasion.strength))
    return eqx.tree_at(lambda found: (found.margin, found.strength), evasion, given)


def start_points(
    rows: Block, threat: ThreatModel, seed: int, *, sources: bool = False
) -> tuple[np.ndarray, np.ndarray]:
    """Return rows with wrong labels to start from: those of the goal's classes, or of all.

    The responses of a regression are sent to the far end of their range.

    Args:
        rows: to draw from, with one-hot labels or responses; those of weight 0 are absent.
        threat: the attacker.
        seed: of the draw.
        sources: whether to draw rows of the attacked classes alone, labelled as what they should be taken for, where
            there are enough. They carry an error-specific attack farther than rows of both classes with swapped
            labels, which the paper starts from.

    Returns:
        Features (p, d), and labels (p,) or responses (p, k).
    """
    x = rows.x if isinstance(rows.x, HostFeatures) else on_host(rows.x)
    y, weight, rng = on_host(rows.y), on_host(rows.weight), np.random.default_rng(seed)
    if not is_one_hot(y, weight):
        return far_responses(x, y, weight=weight, points=threat.budget, rng=rng)
    labels = np.argmax(y, axis=1)
    present = labels[weight > 0]
    require_classes(present)
    swap = threat.goal.swap(y.shape[1])
    ahead = threat.goal.swap(y.shape[1], sources=True) if sources else None
    if ahead is not None and np.isin(present, list(ahead)).sum() >= threat.budget:
        swap = ahead
    return flipped_rows(x, labels, weight=weight, n_classes=y.shape[1], points=threat.budget, rng=rng, swap=swap)


def _check_kind(learner: Any, train: Block, validation: Samples, threat: ThreatModel, *, classes: bool) -> None:
    """Raise unless learner, goal, label rule and validation rows are of classes, or of responses, as the rows are.

    Rows of several columns may be either, where a learner does not tell.
    """
    regression = getattr(learner, "regression", train.y.shape[1] == 1 or None)
    if not classes and regression is False:
        raise InputError(
            f"{type(learner).__name__} must be attacked on rows with one-hot labels, and these have others: round soft "
            "labels to one class a row."
        )
    if classes and not is_one_hot(on_host(validation.y), on_host(validation.weight)):
        raise InputError("validation rows must have one-hot labels, as the training rows have: make them alike.")
    goal, loss = threat.goal, threat.goal.outer_loss
    of_classes = isinstance(goal, ErrorSpecific | SampleTargets) or getattr(goal, "classes", None) is not None
    if not classes and regression and (of_classes or isinstance(loss, SmoothZeroOne | LogLoss)):
        raise InputError(
            f"{type(goal).__name__} with {type(loss).__name__} is a goal of classes, and these rows have responses: "
            "use ErrorGeneric(SquaredLoss())."
        )
    if isinstance(threat.labels, ChosenResponses if classes else ChosenLabels):
        kind, other = ("classes", "ChosenLabels()") if classes else ("responses", "ChosenResponses()")
        raise InputError(f"{type(threat.labels).__name__} does not choose {kind}, which these rows have: use {other}.")


def _soft_labels(labels, train: Block, threat: ThreatModel, *, classes: bool) -> jax.Array:
    """Return soft labels (p, k); raise unless there is a label of an existing class, or a response, for every point."""
    k, names = train.y.shape[1], np.asarray(labels)
    if not classes:
        if names.shape not in ((threat.budget, k), (threat.budget,) if k == 1 else ()):
            raise InputError(f"responses of starting points must have shape {(threat.budget, k)}; got {names.shape}.")
        return jnp.asarray(names.reshape(threat.budget, k), train.x.dtype)
    if names.shape != (threat.budget,):
        raise InputError(f"starting points must have labels of shape {(threat.budget,)}; got {names.shape}.")
    if not set(names.tolist()) <= set(range(k)):
        raise InputError(f"labels of starting points must be whole numbers 0 to {k - 1}; got {np.unique(names)}.")
    return one_hot(names, k, dtype=train.x.dtype)


def _feasible_start(points, train: Block, threat: ThreatModel) -> jax.Array:
    """Return the starting points as an array; raise unless they fit the rows and lie in the feasible set."""
    begin = jnp.asarray(points, train.x.dtype)
    if begin.shape != (threat.budget, train.x.shape[1]):
        raise InputError(f"starting points must have shape {(threat.budget, train.x.shape[1])}; got {begin.shape}.")
    try:
        inside = np.asarray(threat.feasible.contains(begin)) if threat.budget else np.ones(0, bool)
    except InputError:
        raise
    except (IndexError, TypeError, ValueError) as error:
        raise InputError(
            f"the feasible set must be one of points with {begin.shape[1]} columns, as the rows have; asked about such "
            f"points it raised {type(error).__name__}: give bounds and columns for these."
        ) from error
    if not inside.all():
        kind = threat.feasible.describe()["set"]
        raise InputError(
            f"{int((~inside).sum())} of {threat.budget} starting points lie outside the feasible set ({kind}): "
            "choose a set that holds the training rows, or other starting points."
        )
    return begin


def _with_labels(threat: ThreatModel, begin: jax.Array, soft: jax.Array) -> tuple[FeasibleSet, jax.Array]:
    """Return the feasible set of points that start here and the start, with labels beside features if they move."""
    feasible, labels = threat.feasible.around(begin), threat.labels.feasible(soft.shape[1])
    if labels is None:
        return feasible, begin
    d = begin.shape[1]
    columns = (tuple(range(d)), feasible), (tuple(range(d, d + soft.shape[1])), labels)
    return Columns(columns), jnp.concatenate([begin, labels.project(soft)], axis=1)
