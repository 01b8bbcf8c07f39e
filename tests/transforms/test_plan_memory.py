"""What plans and measurements are remembered by, and when they are forgotten."""

import gc
import math
import weakref

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxcalc.transforms import (
    bilaplacian,
    choose,
    diagonal,
    hessian,
    hvp,
    jacobian,
    laplacian,
    plan,
    plan_memory,
    trace,
)

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
    # Nor is what is held fixed, where no pattern was read from it.
    np.testing.assert_allclose(second(0.5, 3.0), -3 * np.sin(0.5), rtol=1e-6)
    assert len(calls) == 2


class Scaled:
    """A callable without a hash, whose method is a new object each time."""

    __hash__ = None

    def __init__(self, scale):
        self.scale = scale

    def __call__(self, x, shift=0.0):
        return self.energy(x, shift)

    def energy(self, x, shift=0.0):
        return jnp.sum(self.scale * jnp.cos(x - shift) ** 2)


def test_whatever_computes_the_same_program_has_the_same_plan(monkeypatch):
    calls = []
    monkeypatch.setattr(choose, "estimate", lambda *a, original=choose.estimate: calls.append(1) or original(*a))
    model, x = Scaled(jnp.arange(3.0)), jnp.linspace(0.0, 1.0, 3)
    for i in range(3):
        shift = jnp.full(3, 0.1 * i)
        want = jax.hessian(model.energy)(x, shift)
        for second in (hessian(model), hessian(model.energy), hessian(lambda x, shift: model.energy(x, shift))):
            np.testing.assert_allclose(second(x, shift), want, rtol=1e-6)
            np.testing.assert_allclose(second(x, shift=shift), want, rtol=1e-6)
    assert len(calls) == 2  # with the shift among the arguments, and closed over


def test_a_plan_with_a_pattern_is_of_the_values_that_it_was_read_from(monkeypatch):
    calls = []
    monkeypatch.setattr(choose, "estimate", lambda *a, original=choose.estimate: calls.append(1) or original(*a))
    fun = lambda x, mask: mask * x**2 + x[::-1] * mask[::-1]
    jac, x = jacobian(fun, method="sparse"), jnp.arange(1.0, 5.0)
    masks = [jnp.array([1.0, 0, 0, 1]), jnp.array([0.0, 1, 1, 1])]
    for mask in (*masks, *masks):
        np.testing.assert_allclose(jac(x, mask), jax.jacobian(fun)(x, mask), rtol=1e-6)
    assert len(calls) == 2


def test_planning_runs_the_function_once():
    calls = []
    scalar = lambda x: calls.append(1) or jnp.sum(jnp.sin(x) ** 2 * x[::-1])
    x = jnp.linspace(0.1, 1.0, 5)
    products = {hvp: ((x,), x)}
    for operator in (jacobian, hessian, hvp, diagonal, trace, laplacian, bilaplacian):
        calls.clear()
        plan(operator, scalar, *products.get(operator, (x,)))
        assert len(calls) == 1, operator
        for _ in range(2):  # the first time it plans; later on it looks whether it is the same program
            calls.clear()
            operator(scalar)(*products.get(operator, (x,)))
            assert len(calls) == 2, operator


def test_few_plans_are_kept(monkeypatch):
    monkeypatch.setattr(plan_memory, "_MOST_PLANS", 3)
    for i in range(5):
        hessian(lambda x, i=i: jnp.sum(x ** (i + 3)))(jnp.ones(3))
    assert len(plan_memory._PLANS) == 3
    plan_memory.forget()
    monkeypatch.setattr(plan_memory, "_MOST_HELD", 1000)  # bytes of indices; a chain of 30 takes more
    for i in range(3):
        jacobian(lambda x, i=i: jnp.diff(x) ** (i + 2), method="sparse")(jnp.ones(30))
    assert len(plan_memory._PLANS) == 1


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


BUDGET = 1 << 24


def by_power(x, power):
    return jnp.sum(x**3) * power if power > 1 else jnp.sum(x**2)


@pytest.mark.parametrize("operator", [hessian, laplacian, diagonal])
def test_a_bare_number_may_decide_within_a_budget_and_in_a_plan(operator):
    x = jnp.arange(1.0, 4.0)
    wanted = {power: operator(by_power)(x, power) for power in (2.0, 0.5)}
    for power, expected in wanted.items():
        np.testing.assert_allclose(operator(by_power, memory_budget=BUDGET)(x, power), expected)
        traced = jax.jit(operator(by_power, memory_budget=BUDGET), static_argnums=1)
        np.testing.assert_allclose(traced(x, power), expected)
        made = plan(operator, by_power, x, power, memory_budget=BUDGET)
        np.testing.assert_allclose(made(x, power), expected)
        with pytest.raises(ValueError, match=r"told (2\.0|0\.5), which decides what it does, got 7\.0"):
            made(x, 7.0)
    np.testing.assert_allclose(made(2 * x, 0.5), operator(by_power)(2 * x, 0.5))


@pytest.mark.parametrize(
    "fun",
    [
        lambda x, count: sum(x**i for i in range(int(count))),
        lambda x, count: jnp.tile(x, int(count)),
        lambda x, count: x * math.sqrt(count),
        lambda x, count: x * np.sin(count),
        lambda x, count: x * 2 if count.is_integer() else x,
    ],
)
def test_a_bare_number_may_be_read_in_other_ways(fun):
    x = jnp.arange(1.0, 4.0)
    wanted = jax.jacfwd(fun)(x, 3.0)
    np.testing.assert_allclose(jacobian(fun)(x, 3.0), wanted, rtol=1e-6)
    np.testing.assert_allclose(jacobian(fun, memory_budget=BUDGET)(x, 3.0), wanted, rtol=1e-6)
    np.testing.assert_allclose(plan(jacobian, fun, x, 3.0)(x, 3.0), wanted, rtol=1e-6)


def test_a_bare_number_beside_one_that_decides():
    fun = lambda x, scale, power: x * scale**2 if power > 1 else x
    x = jnp.ones(3)
    for budget in (None, BUDGET):
        first, second = jacobian(fun, argnums=(0, 1), memory_budget=budget)(x, 2.0, 3.0)
        np.testing.assert_allclose(first, 4 * np.eye(3))
        np.testing.assert_allclose(second, 4 * np.ones(3))
    made = plan(jacobian, lambda x, scale: x * scale, x, 2.0)  # a number that decides nothing may be another
    np.testing.assert_allclose(made(x, 3.0), 3 * np.eye(3))
