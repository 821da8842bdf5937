"""The time of a hypergradient on one device and spread over several: `python -m benchmarks.devices`.

Softmax regression on random rows (20,000 × 784, ten classes), 200 points, full-batch descent, in float32. On a CPU the
devices are parts of one (`--xla_force_host_platform_device_count`, each in a process that has so many): no speed-up is
to be had beyond its cores, which XLA uses on one device already, and what is measured is what spreading costs. On
GPUs the devices are those that there are.
"""

import argparse
import json
import os
import subprocess
import sys
import time
from pathlib import Path

_ROOT = Path(__file__).parents[1]


def measure(devices: int, arguments: argparse.Namespace) -> dict[str, object]:
    """Return medians of plain training and of a hypergradient, on so many devices of this process."""
    import jax
    import numpy as np

    import backgrad as bg
    from backgrad.attacks.objective import differentiate, evaluate
    from backgrad.attacks.preparation import make_objective
    from backgrad.devices import row_mesh

    def block(n: int, seed: int) -> bg.Samples:
        rng = np.random.default_rng(seed)
        return bg.samples(rng.uniform(size=(n, 784)), rng.integers(0, 10, size=n), 10)

    points = block(arguments.points, 2)
    objective = make_objective(
        bg.SoftmaxRegression(784, 0.001, 10),
        block(arguments.rows, 0),
        block(1000, 1),
        schedule=bg.Descent(arguments.steps, 0.05, batch_size=arguments.batch),
        threat=bg.ThreatModel(arguments.points),
        labels=points.y,
        mesh=None if devices == 0 else row_mesh(devices),
    )
    found: dict[str, object] = {"devices": devices, "device": jax.devices()[0].device_kind}
    for name, function in (("training", evaluate), ("hypergradient", differentiate)):
        times = []
        for _ in range(arguments.rounds + 1):
            begin = time.perf_counter()
            jax.block_until_ready(function(objective, points.x))
            times.append(time.perf_counter() - begin)
        found[name] = float(np.median(times[1:]))
        found[f"{name} compiled"] = times[0] - found[name]
    return found


def main() -> None:
    """Measure each number of devices in a process of its own, and print a table."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.devices", description=__doc__)
    parser.add_argument("--devices", type=int, nargs="+", default=[0, 1, 2, 4], help="0: without a mesh")
    parser.add_argument("--rows", type=int, default=20_000)
    parser.add_argument("--points", type=int, default=200)
    parser.add_argument("--steps", type=int, default=20)
    parser.add_argument("--batch", type=int, help="rows a step (default: all)")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--one", type=int, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.one is not None:
        print(json.dumps(measure(arguments.one, arguments)))
        return
    print("seconds: training, hypergradient, and compiling the latter")
    for devices in arguments.devices:
        flags = f"{os.environ.get('XLA_FLAGS', '')} --xla_force_host_platform_device_count={max(devices, 1)}"
        words = [sys.executable, "-m", "benchmarks.devices", *sys.argv[1:], "--one", str(devices)]
        done = subprocess.run(
            words, check=True, stdout=subprocess.PIPE, text=True, cwd=_ROOT, env={**os.environ, "XLA_FLAGS": flags}
        )
        row = json.loads(done.stdout)
        name = f"{devices} × {row['device']}" if devices else f"no mesh, {row['device']}"
        print(
            f"  {name:24}{row['training']:8.2f}{row['hypergradient']:8.2f}{row['hypergradient compiled']:8.2f}",
            flush=True,
        )


if __name__ == "__main__":
    main()
