"""What an evaluation will cost, measured before it starts.

The attack's own program is compiled at its own shapes and weighed, and a few units of it are timed; so are one training
of every kind of victim and the attack's checks. How often each happens follows from the settings, so an estimate is a
measurement times whole numbers:

    seconds = start-up + Σ_p [ compilation_p + K (attack_p + checks_p + victims_p) ],

over the budgets p and K splits. Where there are many budgets, the least and the greatest are measured, and those
between them lie on a line. What is assumed: splits cost alike, the machine stays as busy as it is, the points of an
attack that moves one at a time stop as early as the first, and iterative victims take as many steps on poisoned rows as
on clean ones.

An estimate costs the compilation, about a second for each kind of work, and one call of work that is slower.
"""

import dataclasses
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np

from ..attacks.base import Optimised, examine
from ..attacks.cost import Price, price, program_bytes, seconds_of, timed
from ..attacks.preparation import Prepared, prepare
from ..errors import InputError
from .plan import Plan, Rows, Table, as_samples, attack_seed, split_key
from .poisoning import ERRORS, known_to_attacker
from .victims import fit_victim, reference_estimator, train_and_predict

# Seconds of a compiled call above which it is made no more often than it must be.
_LONG = 30.0

PARTS = ("start-up", "compilation", "attack", "checks", "victims")


@dataclasses.dataclass(frozen=True)
class CostEstimate:
    """What a job will cost, in seconds unless it says otherwise.

    Args:
        startup: imports, once.
        compilation: of everything, for all budgets.
        attack: searching for points, on all splits at all budgets.
        checks: of the input and the schedule before an attack, and of the attack after, likewise.
        victims: training and judging all victims, likewise.
        hypergradients: computed by all searches, a number.
        hypergradient: one of them, at the greatest budget.
        training: one training of the victim on clean rows.
        memory: the attack's largest compiled program: arguments, results and arrays between, in bytes.
        process: the most memory that this process has held so far, in bytes, having run a sample of everything; None
            where the system does not say.
        took: the estimate itself.
    """

    startup: float
    compilation: float
    attack: float
    checks: float
    victims: float
    hypergradients: int
    hypergradient: float
    training: float
    memory: int
    process: int | None
    took: float

    @property
    def parts(self) -> dict[str, float]:
        """Seconds by the names in `PARTS`."""
        values = (self.startup, self.compilation, self.attack, self.checks, self.victims)
        return dict(zip(PARTS, values, strict=True))

    @property
    def seconds(self) -> float:
        """All parts together."""
        return sum(self.parts.values())


class _Split(NamedTuple):
    """One split at one budget: seconds of its parts, hypergradients, seconds of one, and bytes.

    What is compiled for the first time takes `cold` seconds instead of those of `compilation`.
    """

    compilation: float
    cold: float
    attack: float
    checks: float
    victims: float
    hypergradients: float
    hypergradient: float
    training: float
    memory: float


class _Compiler:
    """Compiles, and keeps account of the time, and of the memory that programs will take."""

    def __init__(self) -> None:
        self.seconds = 0.0
        self.memory = 0
        self.again: list[Callable[[], float]] = []

    def program(self, function: Any, *arguments: Any) -> Callable[..., Any]:
        """Return a function compiled for its arguments."""
        compiled, seconds = timed(lambda: function.lower(*arguments).compile())
        self.seconds += seconds
        self.memory = max(self.memory, program_bytes(compiled))
        self.again.append(lambda: timed(lambda: function.lower(*arguments).compile())[1])
        return compiled

    def usual(self, call: Callable[[], Any]) -> float:
        """Return the seconds of a call; what the first took beyond is compilation."""
        first = timed(call)[1]
        usual = min(first, seconds_of(call))
        self.seconds += first - usual
        # What takes long by itself is not done a third time for the sake of its compilation.
        self.again.append(lambda: max((first if usual > _LONG else timed(call)[1]) - usual, 0.0))
        return usual

    def expected(self) -> float:
        """Return the seconds that compilation will take in the job: less than now where programs are kept on disk."""
        if not _kept_on_disk():
            return self.seconds
        jax.clear_caches()
        return sum(one() for one in self.again)


def _kept_on_disk() -> bool:
    """Tell whether JAX keeps what it compiles from one process to the next."""
    return bool(getattr(jax.config, "jax_compilation_cache_dir", None))


def estimate_cost(
    plan: Plan,
    table: Table,
    splits: Sequence[Rows],
    *,
    budgets: Sequence[int] | None = None,
    victims: Mapping[str, Any] | None = None,
    seed: int = 0,
) -> CostEstimate:
    """Say what `evaluate_split` will cost on some splits at some budgets.

    Where JAX keeps compiled programs on disk (`jax_compilation_cache_dir`), the estimate leaves them there, and counts
    what it takes to find them again; for that, it empties JAX's caches in memory.

    Args:
        plan: who is attacked, and how.
        table: the data set.
        splits: the rows of every split; the first is measured.
        budgets: numbers of points to attack with in turn; that of the plan where omitted.
        victims: further victims by name, as `evaluate_split` takes them.
        seed: of the run.

    Returns:
        Seconds and bytes.

    Raises:
        InputError: no split, or what an attack refuses.
        UnsupportedError: an attack that does not say what its search consists of.
    """
    if not splits:
        raise InputError("an estimate needs at least one split; got none.")
    begin = time.perf_counter()
    wanted = sorted(set(budgets or [plan.threat.budget]))
    measured = sorted({wanted[0], next((p for p in wanted if p), wanted[0]), wanted[-1]})
    startup, others = _price_victims(victims or {}, table, splits[0], seed)
    found = {p: _measure(plan.with_budget(p), table, splits[0], seed) for p in measured}
    each = [_between(found, p) for p in wanted]
    last, count = found[wanted[-1]], len(splits)
    return CostEstimate(
        startup=startup,
        compilation=sum(one.compilation for one in each),
        attack=count * sum(one.attack for one in each),
        checks=count * sum(one.checks for one in each),
        victims=count * sum(one.victims + others for one in each),
        hypergradients=round(count * sum(one.hypergradients for one in each)),
        hypergradient=last.hypergradient,
        training=last.training,
        memory=int(max(one.memory for one in each)),
        process=process_peak(),
        took=time.perf_counter() - begin,
    )


def _between(found: dict[int, _Split], budget: int) -> _Split:
    """Return what was measured at a budget, or else what lies on the line between its neighbours."""
    if budget in found:
        return found[budget]
    known = sorted(p for p in found if p)  # no points are no neighbours: nothing is searched for
    line = _Split(*(float(np.interp(budget, known, parts)) for parts in zip(*(found[p] for p in known), strict=True)))
    return line._replace(compilation=line.cold)  # nothing of this budget was compiled yet


def _price_victims(victims: Mapping[str, Any], table: Table, rows: Rows, seed: int) -> tuple[float, float]:
    """Return what the first fits took beyond usual ones, and the seconds of all other victims on a split."""
    reference, importing = timed(lambda: reference_estimator(table.n_classes))  # imports scikit-learn
    compiler, usual = _Compiler(), 0.0
    for victim in (reference, *victims.values()):

        def fit(victim=victim):
            return fit_victim(victim, table, rows, None, seed=(seed, 0)).predict(table.x[rows.test])

        usual += len(ERRORS) * compiler.usual(fit)
    return importing + compiler.seconds, usual


def _measure(plan: Plan, table: Table, rows: Rows, seed: int) -> _Split:
    """Compile, weigh and time what one split at one budget runs."""
    compiler, key = _Compiler(), (seed, 0)
    clean, schedule = table.samples(rows.train), dataclasses.replace(plan.schedule, key=split_key(key))
    x = table.x[rows.test]

    def prepared() -> Prepared:
        known = known_to_attacker(plan, table, rows, seed=key)
        return prepare(plan.learner, known.pop("train"), known.pop("validation"), **known)

    def fit(*added) -> float:
        return compiler.usual(lambda: train_and_predict(plan.learner, (clean, *added), schedule, x))

    preparing, ready = compiler.usual(prepared), prepared()
    start = _start(ready, table.n_classes)
    usual, poisoned = fit(), fit(as_samples(*start, table.n_classes))
    own, search, examining = attack_seed(key), Price(0.0, 0), 0.0
    if plan.fitted is not None:

        def trial(estimator=plan.fitted.estimator):
            return fit_victim(estimator, table, rows, start, seed=key).predict(table.x[rows.validation])

        search = Price(plan.fitted.attack.evaluations * compiler.usual(trial), 0)
    else:
        if plan.threat.budget:
            search = _price_search(plan, ready, compiler, own)
        nothing = Optimised(ready.start, np.zeros(1), 0.0)
        examining = compiler.usual(
            lambda: dataclasses.astuple(
                examine(plan.attack, ready.objective, ready.feasible, ready.start, nothing, own)
            )
        )
    sound = 1 if plan.attack_schedule is None else 2
    return _Split(
        compilation=compiler.expected(),
        cold=compiler.seconds,
        attack=search.seconds,
        checks=preparing + examining + sound * usual,
        victims=usual + 2 * poisoned,
        hypergradients=search.hypergradients,
        hypergradient=search.each,
        training=usual,
        memory=compiler.memory,
    )


def _start(ready: Prepared, n_classes: int) -> tuple[np.ndarray, np.ndarray]:
    """Return features and labels (or responses) of the starting points."""
    x, y = (np.asarray(part) for part in ready.objective.split(ready.start))
    return x, np.argmax(y, axis=1) if n_classes else y


def _price_search(plan: Plan, ready: Prepared, compiler: _Compiler, seed: int) -> Price:
    seconds, hypergradients = 0.0, 0
    for work in plan.attack.work(ready.objective, ready.feasible, ready.start, seed=seed):
        found = price(work, compiler.program(work.function, *work.arguments(1)))
        seconds, hypergradients = seconds + found.seconds, hypergradients + found.hypergradients
    return Price(seconds, hypergradients)


def process_peak() -> int | None:
    """Return the most memory that this process has held, in bytes; None where the system does not say."""
    status = Path("/proc/self/status")
    if status.exists():
        # The usage of resources, below, would count what the parent process held before it started this one.
        for line in status.read_text(encoding="utf-8").splitlines():
            if line.startswith("VmHWM:"):
                return 1024 * int(line.split()[1])
    try:
        import resource
    except ImportError:  # Windows
        return None
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else 1024 * peak
