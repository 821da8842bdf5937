"""By how much a process grows while it computes a hypergradient: `python -m benchmarks.peak MLP stored 1600`."""

import json
import pathlib
import sys

import jax


def main() -> None:
    """Print the growth of the process's peak, in bytes, as JSON. Linux only."""
    jax.config.update("jax_enable_x64", True)
    from backgrad.evaluation.cost import process_peak

    from . import ours
    from .comparing import TYPES
    from .memory import adjoints
    from .problem import cases

    learner, name, steps = sys.argv[1], sys.argv[2], int(sys.argv[3])
    case, adjoint = adjoints(cases()[learner])[name]
    call = ours.hypergradient(ours.with_schedule(case, steps=steps), case.setting, TYPES["f64"], adjoint)
    compiled = call.function.lower(*call.arguments).compile()
    # Sets the peak back to what the process has now: the compiler had more.
    pathlib.Path("/proc/self/clear_refs").write_text("5")
    before = process_peak() or 0
    jax.block_until_ready(compiled(*call.arguments))
    print(json.dumps({"grown": (process_peak() or 0) - before}))


if __name__ == "__main__":
    main()
