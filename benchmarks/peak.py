"""By how much a process grows while it computes a hypergradient: `python -m benchmarks.peak MLP stored 1600`."""

import json
import pathlib
import sys

import jax


def main() -> None:
    """Print the growth of the process's peak, in bytes, as JSON. Linux only."""
    jax.config.update("jax_enable_x64", True)
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
    before = _kilobytes("VmHWM")
    jax.block_until_ready(compiled(*call.arguments))
    print(json.dumps({"grown": (_kilobytes("VmHWM") - before) * 1024}))


def _kilobytes(name: str) -> int:
    lines = pathlib.Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith(f"{name}:"))


if __name__ == "__main__":
    main()
