"""Records of audits that never were: numbers by formula, names as kind or as hostile as asked for."""

import math
import random
from copy import deepcopy

HOSTILE = [
    "<script>alert(1)</script>",
    "\"><img src=x onerror=alert(2)>'",
    "{{ 7*7 }}{% include 'x' %}",
    "line\nbreak\r\ttab\x00\x1b[31m",
    "\u202egnirts desrever\u2066",
    "$\\frac{1}{0$ & 100 % _x_",
    "]]><!-- -- --><![CDATA[",
    "Ärger 数据 🦠 עברית العربية",
    "http://evil.example/x.png url(http://evil.example)",
    "z̴̧̛̖̗̘̙̜̝̞̟̠̤̥̦̩̪̫̬" * 3,
    "</style></title></svg><svg onload=alert(3)>",
    "W" * 5000,
    " ",
    "_hidden",
    "\ufffe\ufdd0\ue000",
]


def series(errors, splits, spread=0.02, seed=0):
    rng = random.Random(seed)
    values = [[min(max(error + rng.uniform(-spread, spread), 0.0), 1.0) for _ in range(splits)] for error in errors]
    mean = [sum(at) / len(at) for at in values]
    interval = [[m - spread, m + spread] for m in mean] if splits > 2 else None
    return {"mean": mean, "interval": interval, "splits": values}


def curve(victim, knowledge, fractions, *, splits=5, worst=0.45, train=500, seed=0):
    points = [round(f * train / (1 - f)) for f in fractions]
    return {
        "victim": victim,
        "knowledge": knowledge,
        "crafted_against": "logistic",
        "fractions": fractions,
        "points": points,
        "clean": series([0.08] * len(fractions), splits, seed=seed),
        "label_flips": series([0.08 + 0.4 * f for f in fractions], splits, seed=seed + 1),
        "poisoned": series([0.08 + (worst - 0.08) * (f / 0.2) ** 0.6 for f in fractions], splits, seed=seed + 2),
    }


def column(name, kind="numeric", **given):
    base = {"name": name, "kind": kind, "used": True, "note": None, "missing": 0, "low": 0.0, "high": 1.0}
    return {**base, "categories": None, **given}


def split_health(split, verdict="worked"):
    return {
        "split": split,
        "points": 26,
        "verdict": verdict,
        "sentence": "The objective rose and the gradient was right.",
        "gradient_error_first": 1.2e-9,
        "gradient_error_last": 3.4e-8,
        "objective_start": 0.12,
        "objective_best": 0.43,
        "gain_left": 0.01,
        "share_at_bounds": 0.52,
    }


def normal():
    """Return a two-class audit in which everything was done."""
    fractions = [0.0, 0.01, 0.02, 0.05, 0.1, 0.2]
    names = ["word_freq_free", "word_freq_remove", "char_freq_!", "capital_run_length_total", "word_freq_george"]
    names += [f"word_freq_{i}" for i in range(40)]
    return {
        "schema_version": "1.0",
        "tool": {"name": "backgrad", "version": "0.3.0", "code": "5f3c9a1be2"},
        "run": {
            "command": "backgrad audit spambase.csv --target spam --limit 0.20 --at 0.05",
            "profile": "standard",
            "seed": 0,
            "splits": 5,
            "started": "2026-11-25T10:00:00Z",
            "seconds": 384.0,
        },
        "environment": {
            "python": "3.11.7",
            "platform": "Linux-6.1-x86_64",
            "packages": {"jax": "0.10.2", "numpy": "2.4.1", "scikit-learn": "1.8.0"},
        },
        "input": {
            "source": "spambase.csv",
            "format": "csv",
            "sha256": "b1" * 32,
            "rows": 4601,
            "used_rows": 1000,
            "sampling": "Of 4,601 rows, 1,000 were drawn at random, each class in its share (seed 0).",
            "train_rows": 500,
            "validation_rows": 250,
            "test_rows": 250,
            "columns": [
                *(column(name) for name in names),
                column("id", "identifier", used=False, note="Every value is different: set aside as an identifier."),
                column("const", "constant", used=False, note="Has one value only: set aside."),
                column("country", "categorical", low=None, high=None, categories=12, missing=14),
            ],
            "problems": ["391 rows are exact duplicates of others; they were kept."],
        },
        "target": {"column": "spam", "classes": [{"name": "0", "rows": 2788}, {"name": "1", "rows": 1813}]},
        "estimator": {
            "name": "logistic",
            "description": "Pipeline(StandardScaler, LogisticRegression)",
            "surrogate": "exact",
            "sentence": "The pipeline's own training was differentiated, its scaling included.",
        },
        "threat_model": {
            "sentences": [
                "The attacker adds rows to the training data; they cannot change or remove rows that are there.",
                "Every value of an added row lies in the range that clean rows have, and the labels are wrong.",
                "The attacker knows the pipeline and the training rows; a second attacker knows only a sample.",
            ],
            "goal": "Errors of any kind on test rows (availability).",
            "capability": "Up to 20 % of the training rows.",
            "knowledge": ["perfect", "surrogate-learner"],
            "feasible_set": "Each feature between its 1st and 99th percentile; one-hot groups stay one-hot.",
        },
        "baseline": {
            "error": {"mean": 0.081, "interval": [0.07, 0.092], "splits": [0.08, 0.082, 0.081, 0.079, 0.083]},
            "majority_error": 0.394,
            "class_errors": {"0": 0.05, "1": 0.12},
        },
        "curves": [
            curve("logistic", "perfect", fractions),
            curve("mlp", "surrogate-learner", fractions, worst=0.32, seed=10),
            curve("forest", "surrogate-learner", fractions, worst=0.17, seed=20),
            curve("svm", "surrogate-learner", fractions, worst=0.41, seed=30),
        ],
        "class_damage": {
            "fraction": 0.2,
            "points": 125,
            "classes": [
                {"name": "0", "clean": 0.05, "label_flips": 0.1, "poisoned": 0.4},
                {"name": "1", "clean": 0.12, "label_flips": 0.2, "poisoned": 0.53},
            ],
            "confusion_clean": [[0.95, 0.05], [0.12, 0.88]],
            "confusion_poisoned": [[0.6, 0.4], [0.53, 0.47]],
        },
        "breaking_point": {
            "limit": 0.2,
            "fraction": 0.031,
            "points": 16,
            "interval": [0.02, 0.05],
            "censored": False,
            "most_points": 125,
            "most_fraction": 0.2,
            "sentence": "About 16 poisoned rows among 516 (3.1 %) push the mean error above 20 %.",
        },
        "transfer": {
            "surrogates": ["logistic", "mlp", "svm"],
            "victims": ["logistic", "mlp", "forest", "svm"],
            "errors": [[0.24, 0.15, 0.09, 0.22], [0.17, 0.19, 0.1, 0.16], [0.22, 0.14, 0.09, 0.25]],
            "half_intervals": [[0.03, 0.02, 0.01, 0.03], [0.02, 0.03, 0.01, 0.02], [0.03, 0.02, 0.01, None]],
            "clean": [0.08, 0.07, 0.05, 0.085],
            "label_flips": [0.1, 0.09, 0.06, 0.1],
            "fraction": 0.05,
            "points": 26,
        },
        "defences": {
            "fraction": 0.05,
            "points": 26,
            "rows": [
                defence("none", 0.08, 0.24, None, None, None),
                defence("sphere", 0.082, 0.19, 0.23, 0.4, 0.05),
                defence("nearest neighbours", 0.086, 0.13, 0.21, 0.62, 0.08),
                defence("trim", 0.081, 0.1, None, 0.9, 0.01),
                defence("bagging", 0.079, 0.16, 0.22, None, None),
            ],
            "warnings": ["No attacker who knows trim was tried."],
        },
        "certificates": {
            "method": "Deep Partition Aggregation",
            "partitions": 50,
            "budgets": list(range(21)),
            "certified_error": [min(1.0, 0.13 + 0.03 * i + 0.001 * i * i) for i in range(21)],
            "measured": [
                {"points": 5, "error": 0.14, "interval": [0.12, 0.16], "attack": "joint", "model": "defended"},
                {"points": 16, "error": 0.16, "interval": [0.13, 0.19], "attack": "joint", "model": "defended"},
                {"points": 26, "error": 0.24, "interval": [0.21, 0.27], "attack": "joint", "model": "audited"},
            ],
            "note": "holds for the defended model, not for the pipeline that was audited",
        },
        "poison": {
            "features": [
                {"name": name, "clean_mean": 0.1, "poison_mean": 0.1 + math.cos(i), "shift": 3 * math.cos(i) / (1 + i)}
                for i, name in enumerate(names)
            ],
            "images": None,
            "rows": None,
        },
        "health": {
            "verdict": "worked",
            "sentence": "On all 5 splits the gradient was right, the objective rose and little was left to gain.",
            "splits": [split_health(i) for i in range(5)],
        },
        "gate": {
            "limit": 0.2,
            "at": 0.05,
            "error": {"mean": 0.241, "interval": [0.212, 0.27], "splits": None},
            "verdict": "broken",
            "rules": ["Broken: the interval's lower end, 21.2 %, is above the limit, 20 %."],
            "exit_code": 1,
        },
        "verdict": [
            "With 5 % of the training rows poisoned, the error rises from 8.1 % to 24.1 % (21.2 to 27.0 %), above your "
            "limit of 20 %.",
            "About 16 poisoned rows are enough to pass the limit; of the defences, trim helped most.",
        ],
        "mappings": [
            {
                "framework": "MITRE ATLAS",
                "version": "5.6.1",
                "id": "AML.T0020",
                "name": "Poison Training Data",
                "why": "The audit adds poisoned rows to the training data.",
            },
            {
                "framework": "EU AI Act",
                "version": "Regulation (EU) 2024/1689",
                "id": "Article 15(5)",
                "name": "Measures against manipulation of the training data set",
                "why": "For high-risk systems.",
            },
        ],
        "artifacts": ["report.html", "audit.json", "points.npz", "curve.png", "curve.pdf"],
    }


def defence(name, clean, oblivious, adaptive, poison, kept):
    errors = {"clean_error": clean, "oblivious_error": oblivious, "adaptive_error": adaptive}
    return {"name": name, **errors, "poison_removed": poison, "clean_removed": kept, "seconds": 1.25}


def classes(names, seed=3):
    """Return target, class errors and class damage of many classes."""
    rng, size = random.Random(seed), len(names)
    clean = [rng.uniform(0.01, 0.1) for _ in names]
    poisoned = [min(1.0, error + rng.uniform(0, 0.5)) for error in clean]

    def confusion(errors):
        return [[1 - e if i == j else e / (size - 1) for j in range(size)] for i, e in enumerate(errors)]

    damage = {
        "fraction": 0.1,
        "points": 55,
        "classes": [
            {"name": name, "clean": a, "label_flips": (a + b) / 2, "poisoned": b}
            for name, a, b in zip(names, clean, poisoned, strict=True)
        ],
        "confusion_clean": confusion(clean),
        "confusion_poisoned": confusion(poisoned),
    }
    return damage, dict(zip(names, clean, strict=True))


def with_classes(record, names):
    record["class_damage"], record["baseline"]["class_errors"] = classes(names)
    record["target"]["classes"] = [{"name": name, "rows": 100 + i} for i, name in enumerate(names)]
    return record


def images():
    """Return an audit of ten digits with pictures."""
    record, side = with_classes(normal(), [str(i) for i in range(10)]), 28
    middle = (side - 1) / 2

    def digit(k, noise):
        rng = random.Random(k)
        far = [math.hypot(i % side - middle, i // side - middle) for i in range(side * side)]
        ring = [max(0.0, 1 - abs(r - 5 - k / 2) / 2) for r in far]
        return [min(1.0, value + noise * rng.random()) for value in ring]

    record["input"] |= {"source": "mnist", "columns": [column(f"pixel{i}") for i in range(side * side)]}
    record["target"]["column"] = "digit"
    record["poison"] = {
        "features": [],
        "images": {
            "shape": [side, side],
            "before": [digit(k, 0.0) for k in range(6)],
            "after": [digit(k, 0.6) for k in range(6)],
            "labels": [str((k + 1) % 10) for k in range(6)],
        },
        "rows": None,
    }
    return record


def minimal():
    """Return the least that an audit may say: one split, one fraction, nulls wherever they may be."""
    record = normal()
    nothing = ("class_damage", "breaking_point", "transfer", "defences", "certificates", "poison")
    record |= dict.fromkeys(nothing)
    record["curves"] = [curve("logistic", "perfect", [0.0, 0.2], splits=1)]
    record["curves"][0]["poisoned"]["splits"][1] = [None]
    record["curves"][0]["poisoned"]["mean"][1] = None
    record["baseline"] = {"error": {"mean": None, "interval": None}, "majority_error": None, "class_errors": {}}
    record["input"] |= {"sampling": None, "sha256": None, "columns": [], "problems": []}
    record["health"] = {"verdict": "nothing to do", "sentence": "The budget is 0.", "splits": []}
    record["gate"] = {"limit": None, "at": None, "error": None, "verdict": "not asked", "rules": [], "exit_code": 0}
    record["environment"]["packages"] = {}
    record["run"]["seconds"] = None
    return record | {"mappings": [], "artifacts": []}


def censored():
    """Return an audit whose limit was never reached."""
    record = normal()
    record["breaking_point"] |= {
        "limit": 0.5,
        "fraction": None,
        "points": None,
        "interval": None,
        "censored": True,
        "sentence": "With 125 poisoned rows (20 %) the mean error is 45 %, below the limit of 50 %.",
    }
    record["gate"] |= {"limit": 0.5, "verdict": "passed", "exit_code": 0, "rules": ["Passed: 27 % is below 50 %."]}
    return record


def failed():
    """Return an audit whose attack failed: the errors are low, and mean nothing."""
    record = censored()
    record["health"] = {
        "verdict": "failed",
        "sentence": "The objective did not rise on 4 of 5 splits.",
        "splits": [split_health(i, "failed") for i in range(5)],
    }
    record["gate"] |= {"verdict": "inconclusive", "exit_code": 3, "rules": ["Inconclusive: the attack failed."]}
    record["verdict"] = ["The attack failed, so nothing follows about the limit.", "Run the thorough profile."]
    return record


def hostile():
    """Return an audit in which every text that may come from outside is hostile."""
    record, evil = images(), HOSTILE
    with_classes(record, evil)
    record["input"] |= {"source": evil[0] + evil[3], "columns": [column(name, note=name) for name in evil]}
    record["input"]["problems"] = list(evil)
    record["input"]["sampling"] = evil[0]
    record["target"]["column"] = evil[1]
    record["estimator"] |= {"name": evil[2], "description": evil[0], "sentence": evil[6]}
    record["run"]["command"] = "backgrad audit " + evil[0] + evil[4]
    record["threat_model"] |= {"sentences": list(evil), "goal": evil[10], "knowledge": list(evil)}
    record["poison"]["features"] = [
        {"name": name, "clean_mean": 0.0, "poison_mean": 1.0, "shift": 1.0 + i} for i, name in enumerate(evil)
    ]
    record["poison"]["images"]["labels"] = evil[:6]
    record["poison"]["rows"] = [dict.fromkeys(evil, value) for value in (evil[0], 1.5, None, True)]
    record["transfer"] |= {"surrogates": evil[:3], "victims": evil[3:7]}
    for one, name in zip(record["defences"]["rows"], evil, strict=False):
        one["name"] = name
    record["defences"]["warnings"] = list(evil)
    for one, name in zip(record["curves"], evil[9:], strict=False):
        one["victim"] = name
    record["verdict"] = [evil[0] + evil[4], evil[10]]
    record["gate"]["rules"] = list(evil)
    record["health"]["sentence"] = evil[0]
    record["artifacts"] = list(evil)
    record["mappings"][0] |= {"name": evil[0], "why": evil[8]}
    record["environment"]["packages"] = dict.fromkeys(evil, evil[0])
    record["certificates"]["measured"][0]["attack"] = evil[0]
    return record


def huge():
    """Return an audit of 10,000 columns and 200 classes."""
    record = with_classes(normal(), [f"class {i} with a name of some length" for i in range(200)])
    names = [f"column {i:05d} of a very wide table, as sensors and genes have them" for i in range(10_000)]
    record["input"]["columns"] = [column(name, note="A note that says something about it.") for name in names]
    record["poison"]["features"] = [
        {"name": name, "clean_mean": 0.0, "poison_mean": 1.0, "shift": math.sin(i)} for i, name in enumerate(names)
    ]
    record["poison"]["rows"] = [{name: float(i) for i, name in enumerate(names)}] * 3
    record["health"]["splits"] = [split_health(i) for i in range(500)]
    return record


SAMPLES = {maker.__name__: maker for maker in (normal, images, minimal, censored, failed, hostile, huge)}


def make(name):
    """Return a fresh copy of a sample."""
    return deepcopy(SAMPLES[name]())
