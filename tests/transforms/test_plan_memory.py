"""What plans and measurements are remembered by, and when they are forgotten."""

import gc
import weakref

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxcalc.transforms import choose, hessian, hvp, jacobian, laplacian, plan, plan_memory

pytestmark = pytest.mark.usefixtures("nothing_remembered")


def test_plans_are_made_once_and_die_with_their_function(x64, monkeypatch):
    calls = []
    monkeypatch.setattr(choose, "estimate", lambda *a, original=choose.estimate: calls.append(1) or original(*a))
    fun = lambda x: jnp.cumsum(x**2)
    jac = jacobian(fun)
    for _ in range(3):
        jac(jnp.ones(40))
    jacobian(fun)(jnp.zeros(40))
    assert len(calls) == 1
    jac(jnp.ones(41))
    assert len(calls) == 2
    alive = weakref.ref(fun)
    del fun, jac
    gc.collect()
    assert alive() is None


def test_a_measured_plan_is_remembered_on_disk(x64):
    x = jnp.linspace(0.1, 1, 6)
    made = plan(jacobian, jnp.cumsum, x, effort="measure")
    assert made.effort == "measure" and set(made.measured) >= {made.chosen.label}
    loser = next(route for route in made.routes if not route.refused and route.label != made.chosen.label)
    plan_memory.forget()
    assert plan(jacobian, jnp.cumsum, x).effort == "remembered"
    assert plan(jacobian, jnp.cumsum, x).chosen.label == made.chosen.label != loser.label
    assert plan(jacobian, jnp.cumsum, jnp.ones(7)).effort == "estimate"  # another shape
    assert plan(jacobian, lambda x: jnp.cumsum(x) * 2, x).effort == "estimate"  # another program
    np.testing.assert_allclose(jax.jit(jacobian(jnp.cumsum))(x), np.tril(np.ones((6, 6))))


def test_a_bare_number_that_is_differentiated_is_no_part_of_the_program(monkeypatch):
    calls = []
    monkeypatch.setattr(choose, "estimate", lambda *a, original=choose.estimate: calls.append(1) or original(*a))
    fun = lambda x, scale: scale * jnp.sin(x)
    second, product = hessian(fun), hvp(fun)
    for x in (0.5, 0.7, 0.9):
        np.testing.assert_allclose(second(x, 2.0), -2 * np.sin(x), rtol=1e-6)
        np.testing.assert_allclose(product((x, 2.0), x), -2 * np.sin(x) * x, rtol=1e-6)
    assert len(calls) == 2
    # What is held fixed belongs to it.
    np.testing.assert_allclose(second(0.5, 3.0), -3 * np.sin(0.5), rtol=1e-6)
    assert len(calls) == 3


@pytest.mark.parametrize("choices", [{}, {"method": "sparse"}, {"output_format": "bcoo"}])
def test_a_bare_number_may_decide_what_the_function_does(choices):
    fun = lambda x, power, scale: jnp.sum(scale * x**power) if power > 2 else jnp.sum(scale * x * x[::-1])
    x, second = jnp.arange(1.0, 4.0), hessian(fun, **choices)
    for power in (3.0, 2.0, 3.0):
        result = second(x, power, 2.0)
        result = result.todense() if "output_format" in choices else result
        np.testing.assert_allclose(result, jax.hessian(fun)(x, power, 2.0), rtol=1e-5)
    for power in (3.0, 2.0):
        np.testing.assert_allclose(laplacian(fun)(x, power, 2.0), jnp.trace(jax.hessian(fun)(x, power, 2.0)), rtol=1e-5)
