"""The sections of the benchmarks, in the order in which they run."""

from collections.abc import Callable

from .arithmetic import arithmetic_section
from .art import art_section
from .attacks import attacks_section
from .memory import memory_section
from .options import Options
from .rivals import attack_section, authors_section, pytorch_section
from .table import Section
from .training import compilation_section, training_section

SECTIONS: dict[str, Callable[[Options], Section]] = {
    "training": training_section,
    "compilation": compilation_section,
    "memory": memory_section,
    "attacks": attacks_section,
    "arithmetic": arithmetic_section,
    "pytorch": pytorch_section,
    "authors": authors_section,
    "attack": attack_section,
    "art": art_section,
}
