"""What the compiler sets aside for a gradient, as training grows longer."""

import jax
import jax.numpy as jnp
import pytest

import backgrad as bg

MODEL = bg.MLP(40, 3, (50,))  # 2,203 parameters
PARAMETERS = sum(leaf.size for leaf in jax.tree.leaves(MODEL.init(jax.random.key(0)))) * 8


def temporary(steps, adjoint, *, momentum=0.9, moved=False):
    """Return the bytes of temporary arrays in the gradient of a loss after mini-batch training of so many steps."""
    rows, points = (bg.samples(jnp.zeros((n, 40)), [i % 3 for i in range(n)], 3) for n in (30, 4))

    def loss(x, momentum):
        schedule = bg.Descent(steps, 0.1, momentum, batch_size=5)
        return MODEL.loss(
            bg.train(MODEL, (rows, points._replace(x=x)), schedule=schedule, adjoint=adjoint).params, rows
        )

    if moved:
        found = jax.jit(jax.grad(loss, argnums=(0, 1))).lower(points.x, jnp.asarray(momentum))
    else:
        found = jax.jit(lambda x: jax.grad(loss)(x, momentum)).lower(points.x)
    return found.compile().memory_analysis().temp_size_in_bytes


@pytest.fixture(scope="module")
def one_step():
    return temporary(2, bg.Checkpointed())


def test_a_stored_trajectory_takes_the_parameters_of_each_step_and_no_velocity(one_step):
    steps = 200
    no_room_for_products = bg.Checkpointed(memory_limit=steps * PARAMETERS)
    taken = temporary(steps, no_room_for_products) - one_step
    assert 0.95 * steps * PARAMETERS < taken < 1.1 * steps * PARAMETERS


@pytest.mark.slow
def test_a_momentum_that_is_differentiated_takes_the_velocity_too(one_step):
    taken = temporary(200, bg.Checkpointed(memory_limit=2 * 200 * PARAMETERS), moved=True) - one_step
    assert 1.9 * 200 * PARAMETERS < taken < 2.2 * 200 * PARAMETERS


def test_memory_stays_below_the_limit_where_the_trajectory_passes_it(one_step):
    steps, limit = 1000, 100 * 2 * PARAMETERS
    assert steps * PARAMETERS >= 5 * limit
    assert temporary(steps, bg.Checkpointed(memory_limit=limit)) - one_step < limit
    # Nothing is run again where the limit holds the parameters of all steps: half of what all states would take.
    adjoint = bg.Checkpointed(memory_limit=steps * PARAMETERS)
    schedule = bg.Descent(steps, 0.1, 0.9)
    assert adjoint.segment_length(schedule, schedule.init(MODEL.init(jax.random.key(0)))) == 1


@pytest.mark.slow
def test_memory_grows_with_the_root_of_the_steps(one_step):
    first, second = (temporary(steps, bg.Checkpointed(segments=True)) - one_step for steps in (400, 6400))
    assert 3 < second / first < 5
