"""What a plan says of itself, and how it is called, pickled and kept."""

import pickle

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxcalc.transforms import hessian, hvp, jacobian, laplacian, plan

pytestmark = pytest.mark.usefixtures("nothing_remembered")


def arrowhead(x):
    return jnp.concatenate([jnp.sum(x**2)[None], x[1:] ** 2 + x[0] * x[1:]])


def test_it_explains_itself(x64):
    made = plan(jacobian, arrowhead, jnp.ones(300))
    text = str(made)
    assert "strategy" in text and "chosen" in text and "not offered: more than" in text
    assert made.explain().startswith("jacobian: bidirectional (3 colours), predicted")
    assert len({len(line) for line in made.table().splitlines()[:1]}) == 1


def test_it_works_under_jit_and_inside_larger_programs(x64):
    @jax.jit
    def outer(x):
        made = plan(jacobian, arrowhead, x)
        return made(x) @ x

    x = jnp.linspace(0.1, 1, 50)
    np.testing.assert_allclose(outer(x), jax.jacfwd(arrowhead)(x) @ x)


@pytest.mark.parametrize("operator", [jacobian, hessian, laplacian])
def test_a_plan_is_called_like_the_operator(x64, operator):
    fun = arrowhead if operator is jacobian else lambda x: jnp.sum(arrowhead(x) ** 2)
    x = jnp.linspace(0.1, 1, 5)
    np.testing.assert_allclose(plan(operator, fun, x)(x), operator(fun)(x))
    v = jnp.cos(x)
    scalar = lambda x: jnp.sum(arrowhead(x) ** 2)
    np.testing.assert_allclose(plan(hvp, scalar, (x,), v)((x,), v), hvp(scalar)((x,), v))


def product(x):
    return jnp.tanh(x) * x[0]


@pytest.mark.parametrize("effort", ["estimate", "measure"])
def test_a_plan_is_a_function_like_others(effort):
    x = jnp.arange(1.0, 4.0)
    made = plan(jacobian, product, x, effort=effort)
    expected = jax.jacfwd(product)(x)
    np.testing.assert_allclose(jax.jit(made)(x), expected, rtol=1e-6)
    np.testing.assert_allclose(jax.vmap(made)(jnp.stack([x, x]))[1], expected, rtol=1e-6)
    assert {made: "kept"}[made] == "kept" and len(repr(made)) < 100 and "product" in repr(made)
    again = pickle.loads(pickle.dumps(pickle.loads(pickle.dumps(made))))
    np.testing.assert_allclose(again(x), expected, rtol=1e-6)
    assert (again.chosen.label, again.effort, again.measured) == (made.chosen.label, effort, made.measured)


def test_a_plan_of_products_travels_too():
    x = jnp.arange(1.0, 4.0)
    made = plan(hvp, sum_of_cubes, (x,), x, method="reverse-over-reverse")
    np.testing.assert_allclose(jax.jit(pickle.loads(pickle.dumps(made)))((x,), x), 6 * x * x)


def sum_of_cubes(x):
    return jnp.sum(x**3)


def test_a_plan_refuses_other_shapes():
    made = plan(jacobian, product, jax.ShapeDtypeStruct((3,), jnp.float32))
    with pytest.raises(ValueError, match=r"jacobian: this plan is for arguments of shapes \[\(3,\)\], got \[\(4,\)\]"):
        made(jnp.ones(4))
