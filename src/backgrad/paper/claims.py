"""The paper's claims, each with what its method gives here, what our best attack gives, and whether it holds.

A claim holds or not by a rule on the paper's method alone, written beside it, on 95 % intervals over splits. A claim
of a null effect holds where the interval of the paired difference contains zero. Where `--quick` has too few splits,
or too small an attack, to tell, `holds` is null.
"""

from collections.abc import Callable, Sequence

import numpy as np

from ..evaluation.confusion import class_errors, shares
from . import figure2, figure4, figure5, figure7
from .claim import Claim, Interval, fine, interval
from .experiment import Results
from .settings import NAMES


def claims(results: Results, *, quick: bool) -> list[Claim]:
    """Return all claims whose figures were run."""
    parts: tuple[tuple[bool, Callable[[], list[Claim]]], ...] = (
        (results.has("poison", dataset="spambase"), lambda: _binary(results)),
        (results.has("poison", dataset="mnist"), lambda: _digits(results)),
        (results.has("network"), lambda: _network(results, quick=quick)),
        (results.has("cost"), lambda: _cost(results)),
    )
    return [claim for there, part in parts if there for claim in part()]


# --- figures 2 and 3 ------------------------------------------------------------------------------

_REPORTED = {"logistic": 30, "adaline": 30, "mlp": 25}


def _binary(results: Results) -> list[Claim]:
    return [*_perfect(results), *_transfer(results), _flips(results)]


def _perfect(results: Results) -> list[Claim]:
    found = []
    for dataset in figure2.DATASETS:
        for learner, reported in _REPORTED.items():
            seen, best = (
                interval(figure2.at_fifteen(results, dataset, learner, learner, method)) for method in ("paper", "best")
            )
            clean = interval(figure2.clean(results, dataset, learner))
            found.append(
                Claim(
                    "2",
                    f"{NAMES[dataset]}, {NAMES[learner]}: error of a victim at 15 % poisoning",
                    f"{'up to ' if dataset == 'spambase' else 'about '}{reported} %",
                    f"the mean is {reported} % or more, or its interval contains {reported} %",
                    f"{seen}, clean {clean.mean:.1f} %",
                    str(best),
                    seen.high >= reported,
                )
            )
    return found


def _damage(results: Results, dataset: str, surrogate: str, victim: str, method: str) -> Interval:
    return interval(
        figure2.at_fifteen(results, dataset, surrogate, victim, method) - figure2.clean(results, dataset, victim)
    )


def _transfer(results: Results) -> list[Claim]:
    linear = ("logistic", "adaline")
    return [
        _through(
            results,
            [("logistic", "adaline"), ("adaline", "logistic")],
            "between linear learners, points do about as much harm as with perfect knowledge",
            "about as strong",
            "through the surrogate, at least three quarters of the damage of perfect knowledge, on the mean of all "
            "cases",
            lambda through, own, least: through >= 0.75 * own,
        ),
        _through(
            results,
            [(one, "mlp") for one in linear],
            "points made for linear learners do less, but noticeable, harm to the MLP",
            "weaker, but noticeable",
            "the damage is above zero by its interval, and below that of perfect knowledge on the mean of all cases",
            lambda through, own, least: least > 0 and through < own,
        ),
        _through(
            results,
            [("mlp", one) for one in linear],
            "points made for the MLP do much less harm to linear learners",
            "much weaker",
            "at most half of the damage of perfect knowledge, on the mean of all cases",
            lambda through, own, least: through <= 0.5 * own,
        ),
    ]


def _through(
    results: Results,
    pairs: Sequence[tuple[str, str]],
    claim: str,
    reported: str,
    rule: str,
    holds: Callable[[float, float, float], bool],
) -> Claim:
    """Return a claim about transfer.

    Args:
        results: of figures 2 and 3.
        pairs: surrogates and victims.
        claim: in one sentence.
        reported: what the paper says.
        rule: in words.
        holds: the rule, of the mean damage through the surrogates, that of perfect knowledge, and the lowest end of any
            interval of the former.
    """
    cases = [(dataset, *pair) for dataset in figure2.DATASETS for pair in pairs]
    through = [_damage(results, dataset, surrogate, victim, "paper") for dataset, surrogate, victim in cases]
    own = [_damage(results, dataset, victim, victim, "paper") for dataset, _, victim in cases]
    mean_through, mean_own = (float(np.mean([one.mean for one in damage])) for damage in (through, own))

    def told(method: Callable[[str, str], str]) -> str:
        return "; ".join(
            f"{NAMES[dataset]} {NAMES[surrogate]} → {NAMES[victim]} "
            f"{interval(figure2.at_fifteen(results, dataset, surrogate, victim, method(surrogate, victim)))}"
            for dataset, surrogate, victim in cases
        )

    kept = bool(holds(mean_through, mean_own, min(one.low for one in through)))
    return Claim("3", claim, reported, rule, told(lambda *_: "paper"), told(figure2.best_method), kept)


def _flips(results: Results) -> Claim:
    gaps, words, best = [], [], []
    for dataset in figure2.DATASETS:
        for learner in _REPORTED:
            crafted = figure2.at_fifteen(results, dataset, learner, learner, "paper")
            flips = figure2.at_fifteen(results, dataset, learner, learner, "paper", "flips")
            gaps.append(interval(crafted - flips))
            strong, name = figure2.at_fifteen(results, dataset, learner, learner, "best"), NAMES[learner]
            words.append(f"{NAMES[dataset]} {name} {100 * crafted.mean():.1f} against {100 * flips.mean():.1f} %")
            best.append(f"{NAMES[dataset]} {name} {100 * strong.mean():.1f} %")
    return Claim(
        "2",
        "random label flips do far less harm than poisoning points",
        "far less",
        "the paired difference is above zero by its interval in every case",
        "; ".join(words),
        "; ".join(best),
        all(gap.low > 0 for gap in gaps),
    )


# --- figure 4 -------------------------------------------------------------------------------------


def _digits(results: Results) -> list[Claim]:
    return [*_generic(results), *_specific(results)]


def _generic(results: Results) -> list[Claim]:
    part = figure4.GENERIC
    paper, best = part.counts(results, "paper"), part.counts(results, "best")
    flips = part.counts(results, "paper", "flips")
    clean, seen, sharp = (interval(part.seen(counts)) for counts in (paper[:, 0], paper[:, -1], best[:, -1]))
    control = interval(part.seen(flips[:, -1]))
    apart = interval(part.seen(paper[:, -1]) - part.seen(flips[:, -1]))
    gains = [class_errors(counts[:, -1]) - class_errors(counts[:, 0]) for counts in (paper, best)]
    rank = [np.argsort(-gain.mean(axis=0)) for gain in gains]
    final = [class_errors(counts[:, -1]).mean(axis=0) for counts in (paper, best)]
    told = [
        f"largest rise for {order[0]}, then {order[1]}, {order[2]}; highest error for {int(error.argmax())} "
        f"({100 * error.max():.0f} %)"
        for order, error in zip(rank, final, strict=True)
    ]
    return [
        Claim(
            "4",
            "MNIST, error-generic: the error almost doubles with less than 6 % poisoning",
            "about 12 to 22 %",
            "the poisoned error is at least 1.67 times the clean one",
            f"{clean.mean:.1f} % to {seen}",
            str(sharp),
            seen.mean >= 20 / 12 * clean.mean,
        ),
        Claim(
            "4",
            "MNIST, error-generic: random label flips do far less",
            "far less",
            "the paired difference is above zero by its interval",
            f"{seen.mean:.1f} against {control} by flips",
            f"{sharp.mean:.1f} %",
            apart.low > 0,
        ),
        Claim(
            "4",
            "MNIST, error-generic: digit 5 is the easiest to have misclassified",
            "digit 5",
            "5 has the highest error or the largest rise",
            told[0],
            told[1],
            bool(final[0].argmax() == 5 or rank[0][0] == 5),
        ),
    ]


def _specific(results: Results) -> list[Claim]:
    part = figure4.SPECIFIC
    paper, best = part.counts(results, "paper"), part.counts(results, "best")
    clean, seen, sharp = (interval(part.seen(counts)) for counts in (paper[:, 0], paper[:, -1], best[:, -1]))
    mostly = []
    for counts in (paper, best):
        gained = shares(counts[:, -1])[:, 8] - shares(counts[:, 0])[:, 8]
        gained[:, 8] = 0
        mostly.append((interval(shares(counts[:, -1])[:, 8, 3]), int(gained.mean(axis=0).argmax())))
    rises = [class_errors(counts[:, -1]) - class_errors(counts[:, 0]) for counts in (paper, best)]
    threes = [interval(rise[:, 3]) for rise in rises]
    return [
        Claim(
            "4",
            "MNIST, 8 → 3: the error on 8s rises to half with less than 4 % poisoning",
            "about 20 to 50 %",
            "the mean is 50 % or more, or its interval contains 50 %",
            f"{clean.mean:.1f} % to {seen}",
            str(sharp),
            seen.high >= 50,
        ),
        Claim(
            "4",
            "MNIST, 8 → 3: 8s are mostly taken for 3s",
            "mostly 3",
            "3 gains most of the lost 8s",
            f"{mostly[0][0]} of 8s taken for 3",
            f"{mostly[1][0]} of 8s taken for 3",
            mostly[0][1] == 3,
        ),
        Claim(
            "4",
            "MNIST, 8 → 3: digit 3 gets slightly worse",
            "slightly worse",
            "the rise of the error of 3s is above zero, and less than a third of that of 8s",
            f"rise of {threes[0]}",
            f"rise of {threes[1]}",
            0 < threes[0].mean < (seen.mean - clean.mean) / 3,
        ),
    ]


# --- figures 5 and 6 ------------------------------------------------------------------------------


def _network(results: Results, *, quick: bool) -> list[Claim]:
    def errors(victim: str, method: str, learner: str | None = None, points: int = figure5.POINTS) -> np.ndarray:
        return figure5.victim_errors(results, victim, method, learner, points).mean(axis=1)

    clean = {victim: errors(victim, "clean") for victim in figure5.LEARNERS}
    flips = {victim: errors(victim, "flips") for victim in figure5.LEARNERS}
    paper = {(a, b): errors(b, "paper", a) for a in figure5.LEARNERS for b in figure5.LEARNERS}
    best = {(a, b): errors(b, "best", a) for a in figure5.LEARNERS for b in figure5.LEARNERS}
    null, to_flips = (interval(paper["cnn", "cnn"] - control["cnn"]) for control in (clean, flips))
    network = f"{fine(clean['cnn'])} to {fine(paper['cnn', 'cnn'])}; difference {null}, to flips {to_flips}"
    if not quick:
        single = figure5.victim_errors(results, "cnn", "paper", "cnn") - figure5.victim_errors(results, "cnn", "clean")
        network += f"; of one network a split, as in the paper, {interval(single[:, 0])}"
    effects = [
        _effect(points, errors("cnn", "best", "cnn", points), errors("cnn", "flips", None, points), clean["cnn"])
        for points in (figure5.POINTS, figure5.MANY)
        if figure5.has(results, "best", "cnn", points)
    ]
    moved = [figure5.distances(results, learner).mean() for learner in figure5.LEARNERS]
    moved_best = [figure5.distances(results, learner, "best").mean() for learner in figure5.LEARNERS]
    cross = interval(paper["softmax", "cnn"] - clean["cnn"]), interval(paper["cnn", "softmax"] - flips["softmax"])
    rows = [
        Claim(
            "5",
            "digits 1/5/6: 10 points do not harm the convolutional network",
            "no significant effect",
            "the interval of the paired difference to clean contains zero",
            network,
            "; ".join(effects),
            None if quick else null.contains_zero,
        ),
        Claim(
            "6",
            "digits 1/5/6: 10 points double the error of logistic regression",
            "2 to 4.3 %, label flips 2.1 %",
            "the poisoned error is at least 1.75 times the clean one",
            f"{fine(clean['softmax'])} to {fine(paper['softmax', 'softmax'])}; flips {fine(flips['softmax'])}",
            fine(best["softmax", "softmax"]),
            bool(paper["softmax", "softmax"].mean() >= 1.75 * clean["softmax"].mean()),
        ),
        Claim(
            "5",
            "points made for logistic regression do not harm the convolutional network",
            "ineffective",
            "the interval of the paired difference to clean contains zero",
            f"{fine(paper['softmax', 'cnn'])}; difference {cross[0]}",
            fine(best["softmax", "cnn"]),
            None if quick else cross[0].contains_zero,
        ),
        Claim(
            "6",
            "points made for the convolutional network harm logistic regression no more than label flips",
            "like label flips",
            "the interval of the paired difference to flips contains zero",
            f"{fine(paper['cnn', 'softmax'])}; difference {cross[1]}",
            fine(best["cnn", "softmax"]),
            None if quick else cross[1].contains_zero,
        ),
        Claim(
            "5",
            "points made for the network look like the digits they started as, those for logistic regression do not",
            "alike; not alike",
            "‖after − before‖ / ‖before‖ is at most half as large for the network",
            f"network {moved[0]:.2f}, logistic regression {moved[1]:.2f}",
            f"network {moved_best[0]:.2f}, logistic regression {moved_best[1]:.2f}",
            None if quick else bool(moved[0] <= 0.5 * moved[1]),
        ),
    ]
    return rows


def _effect(points: int, crafted: np.ndarray, flips: np.ndarray, clean: np.ndarray) -> str:
    """Say what our attack does to the network: its error, how many times the clean one, and paired differences."""
    times = crafted.mean() / clean.mean()
    differences = (f"to {name} {fine(crafted - other)}" for name, other in (("clean", clean), ("flips", flips)))
    return f"{points} points {fine(crafted)}, {times:.2f} × clean; paired difference {', '.join(differences)}"


# --- cost -----------------------------------------------------------------------------------------


def _cost(results: Results) -> list[Claim]:
    cases = figure7.costs(results)
    by = {(case["adjoint"], case["parameters"], case["steps"]): case for case in cases}
    back = [case for case in cases if case["adjoint"] == "back-gradient"]
    words = []
    for case in back:
        key = case["parameters"], case["steps"]
        parts = []
        for way, short in (("implicit, dense", "dense"), ("implicit, conjugate gradients", "CG")):
            if (way, *key) in by:
                other = by[way, *key]
                parts.append(f"{short} {1e3 * other['seconds']:.0f} ms (cosine {other['cosine']:.3f})")
        own = f"{1e3 * case['seconds']:.0f} ms (cosine {case['cosine']:.3f})"
        words.append(f"m = {key[0]}, T = {key[1]}: {own}, {', '.join(parts)}")
    exact = [
        f"m = {case['parameters']}, T = {case['steps']}: {1e3 * case['seconds']:.0f} ms"
        for case in cases
        if case["adjoint"] == "exact, stored"
    ]
    largest = max(case["parameters"] for case in cases if case["adjoint"] == "implicit, dense")
    at_largest = [
        case["seconds"] < by["implicit, dense", case["parameters"], case["steps"]]["seconds"]
        for case in back
        if case["parameters"] == largest
    ]
    return [
        Claim(
            "–",
            "a back-gradient costs less than the implicit gradient",
            "linear in T and parameters, against cubic in parameters",
            "it is faster than the dense implicit gradient at the largest size that was solved densely",
            "; ".join(words),
            f"exact, stored: {'; '.join(exact)}",
            all(at_largest),
        )
    ]
