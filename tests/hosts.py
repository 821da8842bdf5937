"""One of two hosts that share a problem's rows on loopback: `python -m tests.hosts PORT NUMBER`."""

import json
import sys

from tests.spread import D, block

N, HOSTS = 48, 2


def main(port, number):
    import jax
    import numpy as np

    import backgrad as bg
    from backgrad.devices import on_host, row_mesh, rows_from_hosts
    from backgrad.types import Samples

    jax.config.update("jax_cpu_collectives_implementation", "gloo")
    jax.distributed.initialize(f"127.0.0.1:{port}", HOSTS, number)
    mesh = row_mesh("all")
    half = slice(number * N // HOSTS, (number + 1) * N // HOSTS)
    clean, judged = block(N, 2, 0), block(13, 2, 1)
    mine = rows_from_hosts(Samples(*(part[half] for part in clean)), mesh)
    result = bg.JointAttack(4, step_size=0.3).craft(
        bg.LogisticRegression(D),
        mine,
        judged,
        schedule=bg.Descent(10, 0.5),
        threat=bg.ThreatModel(5),
        seed=0,
        devices=mesh,
    )
    told = {
        "devices": [len(jax.devices()), len(jax.local_devices())],
        "whole": not mine.x.is_fully_addressable and bool(np.all(on_host(mine.x) == np.asarray(clean.x))),
        "trace": result.trace.tolist(),
        "points": result.points.tolist(),
        "verdict": result.health.verdict,
    }
    print(json.dumps(told), flush=True)


if __name__ == "__main__":
    main(int(sys.argv[1]), int(sys.argv[2]))
