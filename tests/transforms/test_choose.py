"""The choice among routes: by shape, pattern, price, number of products and memory budget."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxcalc.programs.compiled import executable
from jaxcalc.scenarios import workloads
from jaxcalc.transforms import MemoryBudgetError, choose, compare, jacobian, plan
from jaxcalc.transforms.plan import FAST_ENOUGH, Route

pytestmark = pytest.mark.usefixtures("nothing_remembered")


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


def test_shapes_are_enough_and_nothing_is_evaluated():
    def explosive(x, places):
        jax.debug.callback(lambda: pytest.fail("evaluated"))
        return jnp.sin(x[places])

    shape = jax.ShapeDtypeStruct
    made = plan(jacobian, explosive, shape((50_000,), jnp.float32), shape((40_000,), jnp.int32), memory_budget=10**13)
    assert made.chosen.cost is not None


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


def test_small_functions_are_not_searched_for_what_they_cannot_gain():
    made = plan(jacobian, lambda x: jnp.sin(x) * jnp.roll(x, 1), jnp.ones(2))
    assert [route.refused == FAST_ENOUGH for route in made.routes] == [False, True, True, True]
    assert "passed over" in made.table() and "no program is called much faster" in made.explain()
    assert len(compare(jacobian, lambda x: jnp.sin(x) * jnp.roll(x, 1), jnp.ones(2), repeats=1).timings) >= 2


def test_among_equals_fewer_products_win(x64):
    made = plan(jacobian, lambda x: jnp.exp(jnp.sin(x)) * x, jnp.ones(400))
    near = [r for r in made.routes if r.cost is not None and r.seconds <= 1.05 * min(q.seconds for q in made.routes)]
    assert made.chosen.passes == min(route.passes for route in near) == 1


def test_an_auxiliary_output_of_any_kind_is_no_hindrance_to_planning():
    assert plan(jacobian, lambda x: (x**2, "said"), jnp.ones(3), has_aux=True).chosen.passes >= 1


def test_what_is_predicted_nearly_to_fit_is_compiled_before_it_is_refused(monkeypatch):
    network = lambda w: jnp.tanh(jnp.ones((8, 64)) @ jnp.tanh(w)) @ jnp.ones((64, 5))
    result = 4 * 40 * 64 * 64
    budget = int(1.5 * result)
    assert plan(jacobian, network, jnp.full((64, 64), 0.01), memory_budget=budget).chosen.peak_bytes <= budget
    told = Route.peak_bytes
    monkeypatch.setattr(Route, "peak_bytes", property(lambda route: 2 * told.fget(route)))
    made = plan(jacobian, network, jnp.full((64, 64), 0.01), memory_budget=budget)
    assert budget < made.chosen.peak_bytes <= 4 * budget
    assert executable(lambda w: made(w), jnp.full((64, 64), 0.01)).footprint <= budget
    monkeypatch.setattr(choose, "compiled", None)  # a result of twice the budget is refused at sight
    with pytest.raises(MemoryBudgetError, match="the leanest is reverse"):
        plan(jacobian, network, jnp.full((64, 64), 0.01), memory_budget=result // 2)
