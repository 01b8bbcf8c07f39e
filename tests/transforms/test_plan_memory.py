"""What plans and measurements are remembered by, and when they are forgotten."""

import gc
import weakref

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxcalc.transforms import choose, jacobian, plan, plan_memory

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
