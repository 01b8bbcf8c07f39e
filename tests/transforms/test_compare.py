"""plan and compare: what they measure, and what they refuse."""

import functools

import jax
import jax.numpy as jnp
import pytest

from jaxcalc.transforms import compare, jacobian, plan

pytestmark = pytest.mark.usefixtures("nothing_remembered")


def arrowhead(x):
    return jnp.concatenate([jnp.sum(x**2)[None], x[1:] ** 2 + x[0] * x[1:]])


def test_a_measurement_refuses_made_up_numbers_where_a_loop_depends_on_them():
    fun = lambda x: jax.lax.while_loop(lambda y: jnp.sum(y) < 100.0, lambda y: y * 2.0, x)
    with pytest.raises(ValueError, match="needs real arguments"):
        plan(jacobian, fun, jax.ShapeDtypeStruct((3,), jnp.float32), effort="measure")
    assert plan(jacobian, fun, jnp.ones(3), effort="measure").measured
    assert plan(jacobian, jnp.sin, jax.ShapeDtypeStruct((3,), jnp.float32), effort="measure").measured


def test_compare_measures_every_strategy(x64):
    found = compare(jacobian, arrowhead, jnp.linspace(0.1, 1, 30), repeats=3)
    offered = {route.label for route in found.plan.routes if not route.refused}
    assert set(found.timings) == offered
    assert found.regret >= 1.0
    assert "regret" in str(found) and "compile" in found.table()
    axis = found.plot().axes[0]
    assert len(axis.get_yticklabels()) == len(offered) and axis.get_xlabel().startswith("time of one call")


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda: plan(jnp.sin, jnp.sin, 1.0), TypeError, "jacobian, hessian, hvp"),
        (lambda: plan(jacobian, jnp.sin, 1.0, effort="try"), ValueError, "'estimate', 'measure'"),
        (lambda: plan(jacobian, jnp.sin, 1.0, methods="auto"), TypeError, "methods"),
        (lambda: plan(functools.partial(jacobian), jnp.sin, 1.0), TypeError, "must be one of"),
    ],
)
def test_misuse_says_what_to_do(call, error, message):
    with pytest.raises(error, match=message):
        call()
