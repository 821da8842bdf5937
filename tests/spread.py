"""The same work on one device and spread over several, in a process that has four: `python -m tests.spread CASE …`.

Prints one line of JSON a case. The number of devices is fixed when JAX starts, hence the process of its own.
"""

import json
import math
import os
import re
import subprocess
import sys
from pathlib import Path

DEVICES = 4
ROOT = Path(__file__).parents[1]
# None of them divides by four.
ROWS, POINTS, JUDGED, D = 103, 7, 41, 16


def several(devices):
    """Return the environment in which a CPU counts as several devices, and compiles as quickly as in other tests."""
    return {"XLA_FLAGS": f"{os.environ.get('XLA_FLAGS', '')} --xla_force_host_platform_device_count={devices}"}


def run(*cases, environment=None, module="tests.spread"):
    """Return what a process of four devices prints of the cases."""
    flags = {**several(DEVICES), "JAX_ENABLE_X64": "1"}
    path = os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")])
    done = subprocess.run(
        [sys.executable, "-W", "error", "-m", module, *cases],
        capture_output=True,
        text=True,
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": path, **flags, **(environment or {})},
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return [json.loads(line) for line in done.stdout.splitlines() if line.startswith("{")]


def block(n, k, seed):
    """Return n rows of k classes, of uneven weights."""
    import numpy as np

    import backgrad as bg

    rng = np.random.default_rng(seed)
    weight = rng.uniform(0.5, 1.5, size=n)
    return bg.samples(rng.uniform(size=(n, D)), rng.integers(0, k, size=n), k, weight=weight)


def learner(name):
    import backgrad as bg
    from backgrad.learners import cnn

    if name == "cnn-in-chunks":
        cnn._WHOLE, cnn._CHUNK = 24, 8
    network = bg.MLP(D, 3, (4,), l2=0.01)
    return {
        "lr": bg.LogisticRegression(D, 0.01),
        "softmax": bg.SoftmaxRegression(D, 0.01, 3),
        "mlp": network,
        "cnn": bg.CNN(D, 3, channels=(2,), dense=(3,), l2=0.01),
        "cnn-in-chunks": bg.CNN(D, 3, channels=(2,), dense=(3,), l2=0.01),
        "standardised": bg.Standardised(network),
        "min-max": bg.MinMaxScaled(bg.LogisticRegression(D, 0.01)),
    }[name]


def settings(name):
    """Return a schedule and an adjoint."""
    import backgrad as bg

    return {
        "full": (bg.Descent(4, 0.3), None),
        "batch": (bg.Descent(4, 0.3, batch_size=22), None),
        "segments": (bg.Descent(5, 0.3, momentum=0.5), bg.Checkpointed(segments=True)),
        "reversal": (bg.Descent(4, 0.3), bg.BackGradient()),
        "batch-reversal": (bg.Descent(4, 0.3, batch_size=22), bg.BackGradient()),
        "reversible": (bg.Descent(4, 0.3, momentum=0.5), bg.Reversible()),
        "gram": (bg.Descent(4, 0.3, gram=True), None),
        "clipped": (bg.Descent(4, 0.3, clip=0.1, noise=0.1), None),
        "batch-clipped": (bg.Descent(4, 0.3, clip=0.1, batch_size=22), None),
        "dense": (bg.Converged(), bg.Implicit("dense", residual=1e-4)),
        "cg": (bg.Converged(), bg.Implicit("cg", residual=1e-4, solver_tolerance=1e-12)),
        "neumann": (bg.Converged(), bg.Implicit("neumann", residual=1e-4, max_steps=20_000, solver_tolerance=1e-12)),
        "lbfgs": (bg.Converged("lbfgs", 1e-10), bg.Implicit("dense", residual=1e-4)),
    }[name]


def collectives(text):
    """Return kind, most numbers of one array, and whether it is in a loop, of each exchange in compiled code."""
    found = []
    for line in text.splitlines():
        hit = re.search(
            r"= (.*?) (all-gather|all-reduce|collective-permute|all-to-all|reduce-scatter)(-start)?\(", line
        )
        if hit:
            shapes = re.findall(r"\w+\[([\d,]*)\]", hit.group(1))
            sizes = [math.prod(int(size) for size in shape.split(",") if size) for shape in shapes]
            found.append([hit.group(2), max(sizes), "/while/" in line])
    return found


def hypergradient(model, way):
    """Compare a hypergradient on one device with that on four."""
    import jax
    import numpy as np

    import backgrad as bg
    from backgrad.attacks.objective import differentiate
    from backgrad.attacks.preparation import make_objective
    from backgrad.devices import row_mesh

    one, (schedule, adjoint) = learner(model), settings(way)
    clean, judged, points = (block(n, one.n_outputs, seed) for seed, n in enumerate((ROWS, JUDGED, POINTS)))

    def objective(mesh):
        return make_objective(
            one,
            clean,
            judged,
            schedule=schedule,
            threat=bg.ThreatModel(POINTS),
            labels=points.y,
            adjoint=adjoint,
            mesh=mesh,
        )

    spread = objective(row_mesh(DEVICES))
    compiled = differentiate.lower(spread, points.x).compile()
    alone, together = differentiate(objective(None), points.x), compiled(spread, points.x)
    gradient = np.asarray(alone.gradient)
    return {
        "value": float(alone.value),
        "value_error": abs(float(alone.value) - float(together.value)),
        "gradient": float(np.abs(gradient).max()),
        "gradient_error": float(np.abs(gradient - np.asarray(together.gradient)).max()),
        "shards": [list(shard.data.shape) for shard in spread.train.padded.x.addressable_shards],
        "owners": len({shard.device for shard in spread.train.padded.x.addressable_shards}),
        "parameters": sum(leaf.size for leaf in jax.tree.leaves(one.init(jax.random.key(0)))),
        "collectives": collectives(compiled.compiled.as_text()),
    }


def attack(kind):
    """Compare an attack on one device with that on four; count how often its step is compiled."""
    import jax
    import numpy as np

    import backgrad as bg

    clean, judged = block(ROWS, 2, 0), block(JUDGED, 2, 1)
    goal = bg.SampleTargets(np.r_[np.zeros(5, int), np.full(JUDGED - 5, -1)])
    how, wanted = {
        "joint": (bg.JointAttack(8, step_size=0.3, dropout=0.2), bg.ErrorGeneric()),
        "rehearsed": (bg.JointAttack(4, step_size=0.3, rehearsal=3), goal),
        "coordinate": (bg.CoordinateAttack(2, step_size=0.3, passes=1), bg.ErrorGeneric()),
        "subpopulation": (bg.SubpopulationAttack(6), bg.ErrorGeneric()),
    }[kind]
    labels = bg.ChosenLabels() if kind == "subpopulation" else bg.FlippedLabels()
    steps = []

    def count(event, duration, **_):
        if event == "/jax/core/compile/backend_compile_duration":
            steps.append(duration)

    def craft(devices):
        return how.craft(
            bg.LogisticRegression(D),
            clean,
            judged,
            schedule=bg.Descent(10, 0.5),
            threat=bg.ThreatModel(5, goal=wanted, labels=labels),
            seed=0,
            devices=devices,
        )

    alone = craft(None)
    jax.monitoring.register_event_duration_secs_listener(count)
    together = craft("all")
    compiled = len(steps)
    craft("all")
    return {
        "trace_error": float(np.abs(alone.trace - together.trace).max()),
        "points_error": float(np.abs(alone.points - together.points).max()),
        "moved": float(np.abs(alone.points - alone.start).max()),
        "labels": alone.labels.tolist() == together.labels.tolist(),
        "verdicts": [alone.health.verdict, together.health.verdict],
        "compiled": compiled,
        "again": len(steps) - compiled,
    }


def joined():
    """Join blocks of sizes that four does not divide; return what of them comes out and where it lies."""
    import jax
    import numpy as np

    from backgrad.devices import join, row_mesh, spread_rows, spreading

    mesh = row_mesh(DEVICES)
    blocks = tuple(spread_rows(block(n, 3, n), mesh) for n in (ROWS, POINTS, 2))

    @jax.jit
    def together(blocks):
        with spreading(mesh):
            return join(tuple(one.rows for one in blocks))

    found = together(blocks)
    kept = np.asarray(found.weight) > 0
    alone = join(tuple(block(n, 3, n) for n in (ROWS, POINTS, 2)))
    order, usual = np.argsort(np.asarray(found.weight)[kept]), np.argsort(np.asarray(alone.weight))
    same = [bool(np.all(np.asarray(a)[kept][order] == np.asarray(b)[usual])) for a, b in zip(found, alone, strict=True)]
    return {"same": same, "collectives": collectives(together.lower(blocks).compile().as_text())}


if __name__ == "__main__":
    for case in sys.argv[1:]:
        verb, *rest = case.split(":")
        print(json.dumps({"case": case, **globals()[verb](*rest)}), flush=True)
