"""Run the benchmarks: `python -m benchmarks`."""

import argparse
import pathlib
import time

import jax

from .options import Options
from .sections import SECTIONS
from .table import describe, machine, markdown, write

_RESULTS = pathlib.Path(__file__).parent / "results" / "latest.json"


def main() -> None:
    """Measure, print as it goes, and write JSON, and Markdown where asked."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("--json", type=pathlib.Path, default=_RESULTS, help="where to write (default: %(default)s)")
    parser.add_argument("--markdown", type=pathlib.Path, help="where to write the tables as Markdown, if anywhere")
    parser.add_argument("--only", nargs="+", choices=SECTIONS, default=list(SECTIONS), help="sections to run")
    parser.add_argument("--seconds", type=float, default=4.0, help="a group of contestants, once all had 7 rounds")
    parser.add_argument("--full", action="store_true", help="the CNN with all its parameters")
    arguments = parser.parse_args()
    # Both precisions are measured in one process: arrays carry their own, and this only permits the wider one.
    jax.config.update("jax_enable_x64", True)
    before, begin = machine(), time.perf_counter()
    print(describe(before), flush=True)
    print("Contestants take turns; medians in milliseconds, and seconds of compilation.", flush=True)
    settings = {"seconds": arguments.seconds, "only": arguments.only, "full": arguments.full}
    settings["arguments"] = _arguments(arguments, parser)
    sections = []
    for name in arguments.only:
        sections.append(SECTIONS[name](Options(arguments.seconds, arguments.full)))
        print(sections[-1].text(), flush=True)
        write(arguments.json, sections, before, settings)
        if arguments.markdown is not None:
            arguments.markdown.write_text(markdown(before, sections, settings), encoding="utf-8")
    goals = [row.met for section in sections for row in section.rows if row.goal is not None]
    print(f"\n{sum(goals)} of {len(goals)} goals met, in {time.perf_counter() - begin:.0f} s. {arguments.json}")


def _arguments(given: argparse.Namespace, parser: argparse.ArgumentParser) -> list[str]:
    """Return what was asked for beyond the defaults, but for where results go, as one would type it."""
    chosen = []
    if given.only != parser.get_default("only"):
        chosen += ["--only", *given.only]
    if given.seconds != parser.get_default("seconds"):
        chosen += ["--seconds", f"{given.seconds:g}"]
    return [*chosen, "--full"] if given.full else chosen


if __name__ == "__main__":
    main()
