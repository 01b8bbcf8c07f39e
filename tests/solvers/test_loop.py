"""The loop: what it records, how it tells the end, and that lanes do not touch each other."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxcalc.functions import problems
from jaxcalc.solvers import Status, gradient_descent, iterate, momentum, newton
from tests.tolerance import assert_close

BOWL = problems.bowl()


def test_history_holds_the_start_and_every_step(x64):
    result = iterate(gradient_descent(0.1), BOWL.function, BOWL.start, num_steps=5, record=lambda at: at.x)
    steps = np.arange(6)
    assert_close(result.history, np.stack([4 * 0.8**steps, 2 * 0.4**steps], axis=1), 32)
    np.testing.assert_array_equal(result.last.x, result.history[-1])


def test_value_and_gradient_belong_to_the_point(x64):
    for solver in (gradient_descent(0.05), newton()):
        last = iterate(solver, BOWL.function, BOWL.start, num_steps=3).last
        assert float(last.value) == float(BOWL.function(last.x))
        assert_close(last.gradient, BOWL.gradient(last.x), 16)


@pytest.mark.parametrize("solver", [gradient_descent(0.1), momentum(0.1)])
def test_every_step_counts_what_it_evaluates(solver):
    count = iterate(solver, BOWL.function, BOWL.start, num_steps=3, record=lambda at: at.evaluations).history
    assert count.functions.tolist() == count.gradients.tolist() == [1, 2, 3, 4]
    assert count.hvps.tolist() == [0, 0, 0, 0]


def test_no_steps_is_the_start(x64):
    result = iterate(gradient_descent(0.1), BOWL.function, BOWL.start, num_steps=0)
    assert result.history["value"].shape == (1,)
    np.testing.assert_array_equal(result.last.x, BOWL.start)


@pytest.mark.parametrize(
    ("rate", "num_steps", "status"),
    [
        (0.1, 200, Status.CONVERGED),
        (0.1, 5, Status.OUT_OF_STEPS),
        (0.4, 50, Status.DIVERGED),
        (0.4, 10_000, Status.NONFINITE),
    ],
)
def test_status(x64, rate, num_steps, status):
    result = iterate(gradient_descent(rate), BOWL.function, BOWL.start, num_steps=num_steps, tol=1e-8)
    assert int(result.status) == status


def test_a_lane_that_diverges_leaves_the_others_alone(x64):
    def run(rate):
        return iterate(gradient_descent(rate), BOWL.function, BOWL.start, num_steps=4000, tol=1e-8)

    rates = jnp.array([0.1, 0.4, 0.3])
    lanes = jax.jit(jax.vmap(run))(rates)
    assert lanes.status.tolist() == [Status.CONVERGED, Status.NONFINITE, Status.CONVERGED]
    alone = run(rates[2])
    assert_close(lanes.history["value"][2], alone.history["value"], 64)


def test_a_negative_number_of_steps_is_refused():
    with pytest.raises(ValueError, match="num_steps must be at least 0, got -1"):
        iterate(gradient_descent(0.1), BOWL.function, BOWL.start, num_steps=-1)
