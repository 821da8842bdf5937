"""What a user may ask for, in words and numbers."""

import dataclasses


@dataclasses.dataclass(frozen=True)
class Options:
    """What the user asked for, None where they left the choice to us.

    Args:
        learner: the victim's, by name; where omitted logistic regression, softmax for more than two classes, and ridge
            for responses.
        points: p.
        strategy: `joint`, `greedy`, `coordinate` or `subpopulation`.
        objective: `zero-one`, `log-loss`, `squared` or `learner-loss`; zero-one, or squared for responses, where
            omitted.
        feasible: where points may live, see `backgrad.evaluation.words.feasible`.
        adjoint: `checkpointed`, `back-gradient`, `reversible` or `implicit`.
        step_size: η of the victim's descent.
        steps: T of the victim's descent.
        momentum: γ of the victim's descent.
        batch_size: b, rows of each of its steps.
        l2: λ of the victim.
        attack_step_size: η of the attacker's own training; where omitted the victim's, or of a CNN a fifth of that.
        attack_steps: T of the attacker's own training; the victim's where omitted.
        outer_step_size: the length of a step of the attack.
        outer_steps: how many steps the attack takes: of all points together, or of each; or how many subpopulations it
            tries.
        redraw: whether each step or trial of the attack draws initial parameters and batches of its own.
        rehearsal: steps of the joint attack before these, against a fifth of the training steps; none where omitted.
        dropout: the share of the validation rows' features hidden from each step of the joint attack.
        reuse: the weight of the attacker's training rows among those that success is measured on; 1 in joint attacks,
            and 0 in others, where omitted.
        epsilon: the gain below which a point stops, in greedy and coordinate attacks.
        start: the rows that points start from, `train` or `validation`.
        goal: `error-generic`, or classes and the labels their rows should get, such as `8:3,4:9`.
        hold_others: whether rows of all other classes should keep their labels.
        knowledge: `perfect`, `surrogate-data`, `surrogate-learner` or `unknown-schedule`.
        surrogates: learners that stand for an unknown one, separated by commas; all others where omitted.
        labels: `flipped` or `chosen`; chosen for responses, and flipped for classes, where omitted.
    """

    learner: str | None = None
    points: int = 20
    strategy: str = "joint"
    objective: str | None = None
    feasible: str = "box"
    adjoint: str = "checkpointed"
    step_size: float | None = None
    steps: int | None = None
    momentum: float | None = None
    batch_size: int | None = None
    l2: float | None = None
    attack_step_size: float | None = None
    attack_steps: int | None = None
    outer_step_size: float | None = None
    outer_steps: int | None = None
    redraw: bool = False
    rehearsal: int | None = None
    dropout: float | None = None
    reuse: float | None = None
    epsilon: float | None = None
    start: str = "train"
    goal: str = "error-generic"
    hold_others: bool = False
    knowledge: str = "perfect"
    surrogates: str | None = None
    labels: str | None = None
