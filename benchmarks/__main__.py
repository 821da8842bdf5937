"""Run the benchmarks: `python -m benchmarks`."""

import argparse
import pathlib
import time

import jax

from .problem import load_setting
from .sections import SECTIONS
from .table import describe, machine, write

_RESULTS = pathlib.Path(__file__).parent / "results" / "latest.json"


def main() -> None:
    """Measure, print as it goes, and write JSON."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("--json", type=pathlib.Path, default=_RESULTS, help="where to write (default: %(default)s)")
    parser.add_argument("--only", nargs="+", choices=SECTIONS, default=list(SECTIONS), help="sections to run")
    parser.add_argument("--seconds", type=float, default=4.0, help="a group of contestants, once all had 7 rounds")
    arguments = parser.parse_args()
    # Both precisions are measured in one process: arrays carry their own, and this only permits the wider one.
    jax.config.update("jax_enable_x64", True)
    before, begin = machine(), time.perf_counter()
    print(describe(before), flush=True)
    print("MNIST 1-vs-7, 100 training and 400 validation rows, d = 784. Contestants take turns;")
    print("medians in milliseconds, and seconds of compilation.", flush=True)
    setting, sections = load_setting(), []
    for name in arguments.only:
        sections.append(SECTIONS[name](setting, seconds=arguments.seconds))
        print(sections[-1].text(), flush=True)
        write(arguments.json, sections, before, {"seconds": arguments.seconds, "only": arguments.only})
    goals = [row.met for section in sections for row in section.rows if row.goal is not None]
    print(f"\n{sum(goals)} of {len(goals)} goals met, in {time.perf_counter() - begin:.0f} s. {arguments.json}")


if __name__ == "__main__":
    main()
