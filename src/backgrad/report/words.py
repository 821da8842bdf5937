"""The plain words around an audit's numbers, and the vocabularies of the field, as data.

The verdict and the threat model are sentences of the record; whatever else a report says is here. Terms are evidence
*towards* a framework's requirement: no audit makes anything compliant.
"""

from collections.abc import Collection

_ATLAS = ("MITRE ATLAS", "5.6.1")
_OWASP = ("OWASP Machine Learning Security Top 10", "2023")
_AISVS = ("OWASP AISVS", "1.0")
_NIST = ("NIST AI 100-2", "e2025")
_ACT = ("EU AI Act", "Regulation (EU) 2024/1689")

#: From situations to terms. A situation is `always`, `availability` (error-generic), `targeted` (error-specific),
#: `clean label`, `white box`, `transfer`, `sanitised` (a defence that removes rows was tried).
_TERMS = (
    ("always", _ATLAS, "AML.T0020", "Poison Training Data", "The audit adds poisoned rows to the training data."),
    ("always", _ATLAS, "AML.T0019", "Publish Poisoned Datasets", "A table from outside may hold such rows."),
    ("always", _ATLAS, "AML.T0010.002", "AI Supply Chain Compromise: Data", "Rows may be bought or collected."),
    ("always", _ATLAS, "AML.T0031", "Erode AI Model Integrity", "The audit measures how far the error rises."),
    ("always", _ATLAS, "AML.T0059", "Erode Dataset Integrity", "The audit measures how few rows suffice."),
    (
        "white box",
        _ATLAS,
        "AML.T0043.000",
        "White-Box Optimization",
        "Poisoned rows are optimised through the training of the pipeline itself.",
    ),
    (
        "transfer",
        _ATLAS,
        "AML.T0043.002",
        "Black-Box Transfer",
        "Rows crafted against one learner are tried on others.",
    ),
    ("sanitised", _ATLAS, "AML.M0007", "Sanitize Training Data", "Defences that remove rows were tried."),
    ("always", _ATLAS, "AML.M0025", "Maintain AI Dataset Provenance", "The report records the hash of the data."),
    (
        "availability",
        _NIST,
        "NISTAML.013",
        "Data Poisoning (availability, section 2.3.1)",
        "The attacker wants errors of any kind.",
    ),
    (
        "targeted",
        _NIST,
        "NISTAML.024",
        "Targeted Poisoning (section 2.3.2)",
        "The attacker wants errors of a chosen kind.",
    ),
    ("clean label", _NIST, "NISTAML.012", "Clean-label Poisoning", "Poisoned rows carry labels that look right."),
    ("always", _OWASP, "ML02:2023", "Data Poisoning Attack", "This is the risk that the audit measures."),
    ("sanitised", _AISVS, "1.3.1", "Poisoning detection", "The report says how many poisoned rows defences found."),
    ("always", _AISVS, "11.1.3", "Evaluation against known attacks", "A known attack was run and its damage measured."),
    (
        "always",
        _AISVS,
        "11.4.3",
        "Feedback-pipeline poisoning",
        "Rows that users feed back may be poisoned in the same way.",
    ),
    (
        "always",
        _ACT,
        "Article 15(5)",
        "Measures against manipulation of the training data set (data poisoning)",
        "For high-risk systems: the audit measures what such manipulation does and which measures help.",
    ),
)

#: Every term, with the situation in which it applies under `when`.
MAPPINGS: tuple[dict[str, str], ...] = tuple(
    {"when": when, "framework": framework[0], "version": framework[1], "id": key, "name": name, "why": why}
    for when, framework, key, name, why in _TERMS
)


def mappings_for(situations: Collection[str]) -> list[dict[str, str]]:
    """Return the terms that apply, as the record's `mappings`.

    Args:
        situations: beside `always`: `availability`, `targeted`, `clean label`, `white box`, `transfer`, `sanitised`.
    """
    return [
        {key: text for key, text in term.items() if key != "when"}
        for term in MAPPINGS
        if term["when"] == "always" or term["when"] in situations
    ]


#: Sections of the report, in order: the anchor, the heading, one sentence for the reader.
SECTIONS = {
    "threat-model": ("Threat model", "Who is assumed to attack, what they want, what they may do and what they know."),
    "data": ("Data and pipeline as understood", "Check this first: a column understood wrongly changes every number."),
    "curve": (
        "Security curve",
        "The error on test rows as the share of poisoned training rows grows. Optimised rows stand beside as many rows "
        "with flipped labels, and beside the model without an attack.",
    ),
    "breaking-point": (
        "Smallest share that breaks the limit",
        "How few poisoned rows push the error above the limit. Between the budgets that were tried, the share is "
        "an estimate.",
    ),
    "class-damage": (
        "Damage to each class",
        "Which classes pay. An attack may leave the mean error low and ruin one class.",
    ),
    "transfer": (
        "Transfer to other learners",
        "What rows crafted against one learner do to another. Such damage needs no knowledge of the victim.",
    ),
    "defences": (
        "Defences and their cost",
        "The error behind each defence, without an attack and under one. An attacker who knows a defence usually does "
        "more; where none was tried, the adaptive error is unknown, not small.",
    ),
    "certificates": (
        "Certificates beside damage",
        "A certificate is an error that no attack of a budget exceeds. It holds for the defended model, not for the "
        "pipeline that was audited.",
    ),
    "poison": (
        "What poisoned rows look like",
        "How far poisoned rows lie from clean ones, in standard deviations of clean rows. Small shifts mean "
        "that a look at single columns finds nothing.",
    ),
    "health": (
        "Attack health",
        "Whether the attack worked as an optimiser. An attack that failed says nothing about the pipeline.",
    ),
    "vocabulary": (
        "Terms of the field",
        "This audit is evidence towards what these ask for. It certifies nothing, and covers no other risks.",
    ),
    "reproduce": ("How to reproduce", "The same command, seed, versions and data give the same numbers."),
}

#: What a section says where the record has nothing for it.
MISSING = {
    "breaking-point": "No limit was set, so there is none to break. Set one with --limit.",
    "class-damage": "This audit did not measure the damage to each class.",
    "transfer": "This audit did not try other learners. A profile beyond quick does.",
    "defences": "This audit tried no defences.",
    "certificates": "This audit computed no certificates.",
    "poison": "This audit kept no poisoned rows to describe.",
}

#: Titles of figures, by the name of their file.
FIGURES = {
    "curve": "Error against the share of poisoned rows",
    "victims": "The same attack budget against other victims",
    "class_damage": "Error of each class",
    "confusion_difference": "Change of the confusion matrix, in percentage points",
    "transfer": "Error of victims on rows crafted against others",
    "defences": "Error behind each defence",
    "certificates": "Certified error of the defended model, and measured errors",
    "features": "Shift of poisoned rows, in standard deviations of clean rows",
    "images": "Poisoned rows before and after optimisation",
}

#: What precedes the verdict unless the attack worked.
WARNINGS = {
    "suspect": "The attack may be weaker than it should be. The damage shown is the least that an attacker can do; a "
    "stronger attack may do more, and a low error here is no evidence of robustness.",
    "failed": "An attack failed, so a low error in this report is no evidence of robustness. The damage shown is what "
    "a broken attack reached; a working one may do far more.",
    "nothing to do": "No poisoned rows were optimised, so this audit is no evidence of robustness.",
}

GATE = {
    "passed": "Limit held",
    "broken": "Limit broken",
    "inconclusive": "Inconclusive",
    "not asked": "No limit was set",
}

CENSORED = "Not reached within the budget. This is a result about this attack and this budget, and no proof that more "
CENSORED += "rows, or a stronger attack, would not reach it."
