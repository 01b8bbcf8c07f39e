"""Plans: what they choose and say, what they remember and forget, and that they keep to a budget."""

import functools
import gc
import pickle
import weakref

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxcalc.programs import speed
from jaxcalc.programs.compiled import executable
from jaxcalc.scenarios import workloads
from jaxcalc.transforms import MemoryBudgetError, compare, hessian, hvp, jacobian, laplacian, plan, planning


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("JAXCALC_CACHE", str(tmp_path))
    speed.device.cache_clear()
    planning.forget()


def arrowhead(x):
    return jnp.concatenate([jnp.sum(x**2)[None], x[1:] ** 2 + x[0] * x[1:]])


def test_it_chooses_by_shape_and_by_pattern(x64):
    points = jnp.linspace(0, 1, 2000)
    tall = plan(jacobian, lambda p: p[0] * jnp.exp(p[1] * points), jnp.ones(2))
    wide = plan(jacobian, lambda x: jnp.stack([jnp.sum(jnp.sin(x)), jnp.prod(x)]), jnp.ones(2000))
    crossed = plan(jacobian, arrowhead, jnp.ones(1000))
    assert (tall.method, wide.method, crossed.method) == ("forward", "reverse", "bidirectional")
    assert crossed.chosen.passes == 3


def test_unequal_shapes_go_forward_without_being_told():
    # Where jacrev wants 1.8 GB and jacfwd nearly nothing (jax issue 215).
    workload = workloads.make("phase delay", jax.random.key(0))
    made = plan(jacobian, workload.fun, *workload.arguments)
    assert made.method in ("forward", "sparse")
    costs = {route.method: route.cost for route in made.routes if route.cost is not None}
    assert costs["reverse"].flops > 100 * costs["forward"].flops


def test_it_explains_itself(x64):
    made = plan(jacobian, arrowhead, jnp.ones(300))
    text = str(made)
    assert "strategy" in text and "chosen" in text and "not offered: more than" in text
    assert made.explain().startswith("jacobian: bidirectional (3 colours), predicted")
    assert len({len(line) for line in made.table().splitlines()[:1]}) == 1


def test_shapes_are_enough_and_nothing_is_evaluated():
    def explosive(x, places):
        jax.debug.callback(lambda: pytest.fail("evaluated"))
        return jnp.sin(x[places])

    shape = jax.ShapeDtypeStruct
    made = plan(jacobian, explosive, shape((50_000,), jnp.float32), shape((40_000,), jnp.int32), memory_budget=10**13)
    assert made.chosen.cost is not None


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


def test_plans_are_made_once_and_die_with_their_function(x64, monkeypatch):
    calls = []
    monkeypatch.setattr(planning, "estimate", lambda *a, original=planning.estimate: calls.append(1) or original(*a))
    fun = lambda x: arrowhead(x) * 2
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
    planning.forget()
    assert plan(jacobian, jnp.cumsum, x).effort == "remembered"
    assert plan(jacobian, jnp.cumsum, x).chosen.label == made.chosen.label != loser.label
    assert plan(jacobian, jnp.cumsum, jnp.ones(7)).effort == "estimate"  # another shape
    assert plan(jacobian, lambda x: jnp.cumsum(x) * 2, x).effort == "estimate"  # another program
    np.testing.assert_allclose(jax.jit(jacobian(jnp.cumsum))(x), np.tril(np.ones((6, 6))))


def test_a_measurement_refuses_made_up_numbers_where_a_loop_depends_on_them():
    fun = lambda x: jax.lax.while_loop(lambda y: jnp.sum(y) < 100.0, lambda y: y * 2.0, x)
    with pytest.raises(ValueError, match="needs real arguments"):
        plan(jacobian, fun, jax.ShapeDtypeStruct((3,), jnp.float32), effort="measure")
    assert plan(jacobian, fun, jnp.ones(3), effort="measure").measured
    assert plan(jacobian, jnp.sin, jax.ShapeDtypeStruct((3,), jnp.float32), effort="measure").measured


def test_a_budget_chooses_route_and_chunk_and_is_kept(x64):
    def fun(x):
        hidden = jnp.sin(jnp.outer(x, jnp.arange(1.0, 400.0)))
        return jnp.cumsum(hidden, axis=1) @ jnp.ones(399)

    mixed = lambda x: fun(jnp.cumsum(x))
    x = jnp.linspace(0, 1, 120)
    free = plan(jacobian, mixed, x)
    dense = executable(jacobian(mixed, method="forward"), x).footprint
    tight = plan(jacobian, mixed, x, memory_budget=dense // 8)
    assert "at a time" in tight.chosen.how or tight.chosen.cost.peak_bytes < dense // 8
    assert executable(lambda x: tight(x), x).footprint <= dense // 8
    # Each entry to its own size, which the sums behind the smallest of them do not keep to the last digits.
    np.testing.assert_allclose(tight(x), free(x), rtol=1e-9)
    with pytest.raises(MemoryBudgetError, match="the leanest is"):
        plan(jacobian, mixed, x, memory_budget=1000)


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


def test_small_functions_are_not_searched_for_what_they_cannot_gain():
    made = plan(jacobian, lambda x: jnp.sin(x) * jnp.roll(x, 1), jnp.ones(2))
    assert [route.refused == planning.FAST_ENOUGH for route in made.routes] == [False, True, True, True]
    assert "passed over" in made.table() and "no program is called much faster" in made.explain()
    assert len(compare(jacobian, lambda x: jnp.sin(x) * jnp.roll(x, 1), jnp.ones(2), repeats=1).timings) >= 2


def test_among_equals_fewer_products_win(x64):
    made = plan(jacobian, lambda x: jnp.exp(jnp.sin(x)) * x, jnp.ones(400))
    near = [r for r in made.routes if r.cost is not None and r.seconds <= 1.05 * min(q.seconds for q in made.routes)]
    assert made.chosen.passes == min(route.passes for route in near) == 1


def test_an_auxiliary_output_of_any_kind_is_no_hindrance_to_planning():
    assert plan(jacobian, lambda x: (x**2, "said"), jnp.ones(3), has_aux=True).chosen.passes >= 1


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
