"""Settings of all tests: float64, and jaxtyping's shapes checked at run time."""

import gc
import itertools
import os
import re
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path

os.environ.setdefault("JAX_PLATFORMS", "cpu")
os.environ.setdefault("JAX_ENABLE_X64", "1")
# Tests compile far more than they compute. Without LLVM's optimisations, with the older and simpler emitter of fused
# loops, and with the code of a program in one piece, the suite takes two thirds of the time. XLA ends a process that
# gives it flags it does not know, so later versions than have been tried are given the oldest one alone.
os.environ.setdefault(
    "XLA_FLAGS",
    "--xla_backend_optimization_level=0 --xla_cpu_use_fusion_emitters=false --xla_cpu_parallel_codegen_split_count=1"
    if version("jaxlib").startswith(("0.7.", "0.8.", "0.9.", "0.10."))
    else "--xla_backend_optimization_level=0",
)
# Nothing is kept in the cache of whoever runs the tests.
os.environ.setdefault("JAX_ENABLE_COMPILATION_CACHE", "0")

import jaxtyping

# Shapes are checked where they are stated, by jaxtyping or by types made of it. To check the calls of all other modules
# would take a fifth of their tests' time.
_PACKAGE = Path(find_spec("backgrad").origin).parent
_WITH_SHAPES = [
    ".".join(("backgrad", *path.relative_to(_PACKAGE).with_suffix("").parts))
    for path in sorted(_PACKAGE.rglob("*.py"))
    if re.search(r"jaxtyping|\b(Samples|Points|Params)\b", path.read_text(encoding="utf-8"))
]
jaxtyping.install_import_hook(_WITH_SHAPES, "beartype.beartype")

# Linux allows a process 65,530 mapped regions, and every compiled program takes a few: past the limit the compiler
# crashes instead of raising. A test needs a few hundred at most, and forgetting takes seconds.
_MOST_REGIONS = 50_000
_MAPS = Path("/proc/self/maps")
_DONE = itertools.count(1)


def pytest_collection_finish(session):
    """Look for garbage seldom, and never in what is imported: tracing makes many objects, and few are garbage."""
    del session
    gc.collect()
    gc.freeze()
    gc.set_threshold(50_000, 20, 20)


def pytest_runtest_teardown(item):
    """Forget compiled programs before there are too many; looking takes milliseconds, so not after each test."""
    del item
    if next(_DONE) % 20 or not _MAPS.exists():
        return
    with _MAPS.open("rb") as maps:
        regions = sum(1 for _ in maps)
    if regions > _MOST_REGIONS:
        import jax

        jax.clear_caches()
        gc.collect()
