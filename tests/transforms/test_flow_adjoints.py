"""Derivatives of flows by their own steps: both modes, few slots, times, lanes, two legs, and what is refused."""

import pickle

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxcalc import MemoryBudgetError, plan
from jaxcalc.functions import fields
from jaxcalc.transforms.flow import flow
from jaxcalc.transforms.flow_back import segment_length

RATES = np.array([1.5, 1.0, 3.0, 1.0])
START = np.array([1.0, 1.0])


def _loss(solve):
    return lambda y, times, rates: jnp.sum(jnp.sin(solve(y, times, rates)[1:]))


def _gradients(times, **choices):
    loss = _loss(flow(fields.lotka_volterra, **choices))
    return jax.jit(jax.grad(loss, (0, 1, 2)))(jnp.array(START), times, jnp.array(RATES))


TIMES = {
    "end": [0.0, 3.0],
    "many": [0.0, 0.0, 0.4, 1.1, 1.1, 3.0],
    "backwards": [3.0, 2.0, 0.5],
    "none": [1.0, 1.0],
}


@pytest.mark.parametrize("name", TIMES)
@pytest.mark.parametrize("checkpoints", [None, 4, 1024])
def test_gradients_in_start_times_and_rates(x64, name, checkpoints):
    # Oracle: diffrax's own adjoint of a tighter solve; at these tolerances both are the exact flow's. In times that are
    # one, diffrax leaves out that states move with them.
    times, choices = jnp.array(TIMES[name]), {"rtol": 1e-10, "atol": 1e-10, "max_steps": 1024}
    expected = _gradients(times, adjoint="checkpointed", solver="dopri8", **choices)
    found = _gradients(times, adjoint="discrete", solver="tsit5", checkpoints=checkpoints, **choices)
    if name == "none":
        slope = fields.lotka_volterra(0.0, jnp.array(START), jnp.array(RATES)) @ jnp.cos(START)
        expected = (expected[0], jnp.array([-slope, slope]), expected[2])
    for ours, theirs in zip(found, expected):
        np.testing.assert_allclose(ours, theirs, rtol=2e-7, atol=2e-8)


@pytest.mark.parametrize("solver", ["euler", "rk4", "heun", "tsit5", "kvaerno3"])
@pytest.mark.parametrize("times", [[0.0, 3.0], [0.0, 0.4, 1.1, 0.6, 3.0]])
def test_fixed_steps_have_the_same_gradient_by_every_adjoint(x64, solver, times):
    # The discrete flow is the same, so that gradients agree to rounding; times may go as they like.
    times = jnp.array(times)
    choices = {"solver": solver, "num_steps": 30, "rtol": 1e-12, "atol": 1e-12}
    expected = _gradients(times, adjoint="checkpointed", **choices)
    for checkpoints in (None, 3):
        found = _gradients(times, adjoint="discrete", checkpoints=checkpoints, **choices)
        for ours, theirs in zip(found, expected):
            np.testing.assert_allclose(ours, theirs, rtol=1e-9, atol=1e-10)


def test_both_modes_and_lanes_agree(x64):
    solve = flow(fields.lotka_volterra, solver="tsit5", rtol=1e-8, atol=1e-8)
    times = jnp.array([0.0, 0.7, 2.0])
    one = lambda y, rates: solve(y, times, rates)
    y, rates = jnp.array(START), jnp.array(RATES)
    forward, reverse = jax.jacfwd(one, (0, 1))(y, rates), jax.jacrev(one, (0, 1))(y, rates)
    for a, b in zip(forward, reverse):
        np.testing.assert_allclose(a, b, rtol=1e-9, atol=1e-9)
    lanes = jnp.array([[1.0, 1.0], [3.0, 0.2], [0.1, 2.0]])  # of different numbers of steps
    together = jax.jit(jax.vmap(jax.grad(lambda y, rates: one(y, rates).sum(), (0, 1)), (0, None)))(lanes, rates)
    apart = [jax.grad(lambda y, rates: one(y, rates).sum(), (0, 1))(y, rates) for y in lanes]
    for number, alone in enumerate(apart):
        for a, b in zip(together, alone):
            np.testing.assert_allclose(a[number], b, rtol=1e-9, atol=1e-9)


def test_trees_integers_and_closures_are_differentiated_where_they_can_be(x64):
    def solve(scale, args):
        field = lambda t, y, args: {"x": scale * y["v"], "v": -args["k"] * y["x"] * args["sign"][0]}
        return flow(field, rtol=1e-9, atol=1e-9)({"x": 1.0, "v": 0.0}, jnp.array([0.0, 1.0]), args)["x"][-1]

    args = {"k": jnp.array(2.0), "sign": jnp.array([1, 5]), "name": "unused"}
    exact = lambda scale, k: jnp.cos(jnp.sqrt(scale * k))
    loss = lambda scale, k: solve(scale, args | {"k": k})
    np.testing.assert_allclose(jax.grad(loss, (0, 1))(1.3, 2.0), jax.grad(exact, (0, 1))(1.3, 2.0), rtol=1e-7)


def test_a_second_derivative_is_refused_and_named(x64):
    solve = flow(fields.lotka_volterra)
    loss = lambda y: solve(y, jnp.array([0.0, 1.0]), jnp.array(RATES)).sum()
    with pytest.raises(TypeError, match="adjoint='direct'"):
        jax.hessian(loss)(jnp.array(START))


def test_stiff_fields_are_noticed_and_differentiated(x64):
    # Oracle: the closed form of y' = -k (y - cos t), y(0) = 0.
    field = lambda t, y, k: -k * (y - jnp.cos(t))
    exact = lambda k, t: (k * k * jnp.cos(t) + k * jnp.sin(t) - k * k * jnp.exp(-k * t)) / (1 + k * k)
    times, k = jnp.array([0.0, 0.3, 2.0]), 1e4
    found = flow(field, report=True, rtol=1e-8, atol=1e-8)(jnp.array(0.0), times, k)
    assert found.reached and found.num_steps < 300 and found.evaluations < 2000
    np.testing.assert_allclose(found.states[1:], exact(k, times[1:]), rtol=1e-7)
    solve = flow(field, rtol=1e-10, atol=1e-10)
    np.testing.assert_allclose(jax.grad(lambda k: solve(0.0, times, k)[-1])(k), jax.grad(exact)(k, 2.0), rtol=1e-3)
    mild = flow(field, report=True)(jnp.array(0.0), times, 5.0)
    assert mild.reached and mild.evaluations > 0  # explicit to the end


def test_lanes_switch_alone(x64):
    field = lambda t, y, k: -k * (y - jnp.cos(t))
    found = jax.vmap(flow(field, report=True), (None, None, 0))(0.0, jnp.array([0.0, 0.3, 2.0]), jnp.array([5.0, 1e5]))
    assert found.reached.all() and (found.evaluations > 0).all()
    np.testing.assert_allclose(found.states[1, 1:], np.cos([0.3, 2.0]), rtol=1e-4)


FIELDS = {
    "shape": (lambda t, y, _: y[:1], ValueError, r"rates of the state's shape \(2,\), got \(1,\)"),
    "structure": (lambda t, y, _: {"y": y}, TypeError, "must return what the state is"),
    "complex": (lambda t, y, _: 1j * y, TypeError, "complex rates of a real state"),
}


@pytest.mark.parametrize("name", FIELDS)
@pytest.mark.parametrize("adjoint", ["auto", "checkpointed"])
def test_fields_of_the_wrong_kind_are_told(name, adjoint):
    field, error, message = FIELDS[name]
    with pytest.raises(error, match=message):
        flow(field, adjoint=adjoint)(jnp.ones(2), jnp.array([0.0, 1.0]))


def test_rates_of_another_precision_are_cast():
    found = flow(lambda t, y, _: jnp.ones(2, jnp.int32))(jnp.zeros(2), jnp.array([0.0, 1.0]))
    np.testing.assert_allclose(found[-1], [1.0, 1.0], rtol=1e-6)


def test_slots_hold_what_they_must():
    assert segment_length(4096, 4096) == 1
    assert segment_length(4096, 128) == 32
    assert segment_length(5, 2) == 4


def test_a_state_that_breaks_ends_at_once():
    found = flow(lambda t, y, _: jnp.log(0.5 - t) * y, report=True, max_steps=4096)(1.0, jnp.array([0.0, 1.0]))
    assert not found.reached and found.num_steps < 400 and np.isnan(found.states[-1])
    assert found.explain().split(":")[0] in ("not finite", "stopped")


# -- plans -----------------------------------------------------------------------------------------------------------


def _network(t, y, weights):
    return jnp.tanh(y @ weights[0]) @ weights[1]


WEIGHTS = (np.full((4, 16), 0.1, np.float32), np.full((16, 4), -0.1, np.float32))
BATCH = np.linspace(-1, 1, 256, dtype=np.float32).reshape(64, 4)
UNIT = np.array([0.0, 1.0], np.float32)


def _temporaries(solve, *args):
    gradient = jax.grad(lambda y, weights: jnp.sum(solve(y, args[1], weights)[-1] ** 2), (0, 1))
    return jax.jit(gradient).lower(args[0], args[2]).compile().memory_analysis().temp_size_in_bytes


def test_few_inputs_are_carried_forward_and_many_brought_back(x64):
    few = plan(flow, fields.lotka_volterra, jnp.array(START), jnp.array([0.0, 2.0]), jnp.array(RATES))
    assert few.method == "forward" and "6 sensitivities" in few.explain() and "backsolve" in few.table()
    many = plan(flow, _network, BATCH, UNIT, WEIGHTS)
    assert many.method == "discrete"
    routes = {route.method: route for route in many.routes if not route.refused}
    assert routes["discrete"].seconds < routes["checkpointed"].seconds
    abstract = [jax.ShapeDtypeStruct(x.shape, x.dtype) for x in (BATCH, UNIT)]
    assert plan(flow, _network, *abstract, WEIGHTS).chosen.passes > many.chosen.passes  # all of max_steps
    args = jnp.array(START), jnp.array([0.0, 2.0]), jnp.array(RATES)
    np.testing.assert_allclose(jax.jit(few)(*args), flow(fields.lotka_volterra)(*args), rtol=1e-12)
    loss = lambda solve: lambda rates: solve(args[0], args[1], rates)[-1].sum()
    by = lambda adjoint: flow(fields.lotka_volterra, adjoint=adjoint)
    expected = jax.grad(loss(by("discrete")))(args[2])
    for solve in (few, pickle.loads(pickle.dumps(few)), by("auto"), by("forward")):
        np.testing.assert_allclose(jax.grad(loss(solve))(args[2]), expected, rtol=1e-9)


@pytest.mark.parametrize("budget", [800_000, 2_000_000])
def test_what_is_compiled_is_within_the_budget(budget):
    made = plan(flow, _network, BATCH, UNIT, WEIGHTS, memory_budget=budget)
    used = _temporaries(made, BATCH, UNIT, WEIGHTS)
    assert used <= budget and 0.5 < made.chosen.cost.peak_bytes / used < 2
    assert _temporaries(flow(_network, memory_budget=2_000_000), BATCH, UNIT, WEIGHTS) <= 2_000_000


def test_a_budget_that_nothing_fits_is_an_error():
    with pytest.raises(MemoryBudgetError, match=r"the leanest (is|takes)"):
        plan(flow, _network, BATCH, UNIT, WEIGHTS, memory_budget=5_000)
    solve = flow(_network, memory_budget=5_000)
    assert np.isfinite(solve(BATCH, UNIT, WEIGHTS)).all()  # forwards nothing is kept
    with pytest.raises(MemoryBudgetError, match="adjoint='checkpointed'"):
        jax.grad(lambda y: solve(y, UNIT, WEIGHTS).sum())(BATCH)
    with pytest.raises(ValueError, match="memory_budget is for adjoint='auto'"):
        flow(_network, adjoint="discrete", memory_budget=5_000)


# -- ends asked for twice, sensitivities of complex states, first steps ----------------------------------------------


@pytest.mark.parametrize("choices", [{"adjoint": "discrete"}, {"adjoint": "forward"}, {"solver": "heun"}])
def test_times_at_a_step_s_end_move_alone(x64, choices):
    # Oracle: y = exp(-t), of which each time asked for moves its own state, the last ones too where they are one.
    solve = flow(lambda t, y, _: -y, rtol=1e-7, atol=1e-7, **choices)
    weights, times = np.array([1.0, 2.0, 4.0, 8.0]), jnp.array([0.0, 0.5, 1.0, 1.0])
    found = jax.grad(lambda times: weights @ solve(1.0, times))(times)
    slopes = -weights * np.exp(-np.array(times))
    np.testing.assert_allclose(found, [-slopes[1:].sum(), *slopes[1:]], rtol=1e-4)


def test_sensitivities_of_complex_states_are_those_of_both_parts(x64):
    # Oracle: the steps back. The field is no holomorphic one.
    field = lambda t, z, k: 1j * k * z * jnp.abs(z) ** 2 - 0.3 * jnp.conj(z)

    def gradient(adjoint):
        solve = flow(field, adjoint=adjoint, solver="tsit5", num_steps=8)
        loss = lambda z, k: jnp.abs(solve(z, jnp.array([0.0, 0.7, 2.0]), k)[1:] - (1 + 2j)).sum()
        return jax.grad(loss, (0, 1))(jnp.array(1 + 0.5j), jnp.array(0.7))

    for ours, theirs in zip(gradient("forward"), gradient("discrete")):
        np.testing.assert_allclose(ours, theirs, rtol=1e-10)


FIRST_STEPS = {
    # name: (field, start, end, choices, state at the end)
    "no field further on": (lambda t, y, _: jnp.sqrt(1 - y * y), 0.999, 0.01, {}, np.sin(np.arcsin(0.999) + 0.01)),
    "no error in a 0": (lambda t, y, _: -y, [1.0, 0.0], 1.0, {"atol": 0.0}, [np.exp(-1), 0.0]),
    "away from 0": (lambda t, y, _: jnp.stack([0 * t, y[0]]), [1.0, 0.0], 1.0, {"atol": 0.0}, [1.0, 1.0]),
    "a trial that overflows": (lambda t, y, _: -(y**9), 1e2, 1.0, {}, (8 + 1e-16) ** (-1 / 8)),
    "more steps than are counted": (lambda t, y, _: -y, 1.0, 1.0, {"max_steps": 2**40}, np.exp(-1)),
}


@pytest.mark.parametrize("name", FIRST_STEPS)
def test_first_steps_are_found(x64, name):
    field, start, end, choices, exact = FIRST_STEPS[name]
    found = flow(field, report=True, **choices)(jnp.array(start), jnp.array([0.0, end]))
    assert found.reached
    np.testing.assert_allclose(found.states[-1], exact, rtol=1e-5)


def test_a_field_of_nan_ends_without_a_limit():
    found = flow(lambda t, y, _: y * jnp.nan, report=True, max_steps=None)(1.0, jnp.array([0.0, 1.0]))
    assert found.explain().startswith("not finite")


def test_arguments_may_be_empty_or_beyond_comparison(x64):
    solve = flow(lambda t, y, args: args[0].sum() - len(args[1]) * y)
    end = lambda empty: solve(1.0, jnp.array([0.0, 1.0]), (empty, {1, 2}))[-1]
    found, gradient = jax.value_and_grad(end)(jnp.zeros(0))
    assert gradient.shape == (0,)
    np.testing.assert_allclose(found, np.exp(-2), rtol=1e-5)


def test_evaluations_of_diffrax_s_own_steps_are_counted():
    counted = []

    def field(t, y, _):
        jax.debug.callback(lambda t: counted.append(t), t)
        return -y

    found = flow(field, solver="dopri5", adjoint="checkpointed", num_steps=3, report=True)(1.0, [0.0, 0.5, 1.0])
    jax.block_until_ready(found)
    jax.effects_barrier()
    assert len(counted) == found.evaluations


# -- reversible steps ------------------------------------------------------------------------------------------------


def test_reversible_steps_have_the_checkpointed_gradient(x64):
    # To T = 5, where van der Pol's oscillator cannot be run backwards by its own equation.
    times, start = jnp.array([0.0, 5.0]), jnp.array([2.0, 0.0])
    loss = lambda **more: lambda y, mu, times: flow(fields.van_der_pol, num_steps=200, **more)(y, times, mu)[-1].sum()
    by = lambda **more: jax.jit(jax.grad(loss(**more), (0, 1, 2)))(start, 1.0, times)
    exact = jax.grad(
        lambda y, mu, times: flow(fields.van_der_pol, solver="dopri8", rtol=1e-11, atol=1e-11)(y, times, mu)[-1].sum(),
        (0, 1, 2),
    )(start, 1.0, times)
    for ours, theirs in zip(by(adjoint="reversible"), exact):
        np.testing.assert_allclose(ours, theirs, rtol=1e-5)
    # Undone to rounding: both modes through the same steps.
    x, dot = (start, jnp.array(1.0), times), (jnp.array([1.0, -2.0]), jnp.array(0.5), jnp.array([0.0, 1.0]))
    along = jax.jvp(loss(adjoint="reversible"), x, dot)[1]
    back = sum(jnp.vdot(a, b) for a, b in zip(by(adjoint="reversible"), dot))
    np.testing.assert_allclose(back, along, rtol=1e-7)


def test_reversible_steps_save_times_and_keep_nothing(x64):
    times = jnp.array([0.0, 0.5, 1.0])
    field = lambda t, y, w: jnp.tanh(y @ w)
    w, y = jnp.full((8, 8), 0.1), jnp.linspace(-1, 1, 2048).reshape(256, 8)
    loss = lambda n, **more: lambda w: jnp.sum(flow(field, solver="rk4", num_steps=n, **more)(y, times, w) ** 2)
    ours = jax.grad(loss(32, adjoint="reversible"))(w)
    np.testing.assert_allclose(ours, jax.grad(loss(32, adjoint="discrete"))(w), rtol=1e-5)
    used = [
        jax.jit(jax.grad(loss(n, adjoint="reversible"))).lower(w).compile().memory_analysis().temp_size_in_bytes
        for n in (32, 512)
    ]
    assert used[1] < 1.1 * used[0]
    with pytest.raises(ValueError, match="takes equal steps"):
        flow(field, adjoint="reversible")(y, times, w)
    with pytest.raises(ValueError, match="explicit"):
        flow(field, adjoint="reversible", solver="kvaerno5")


def test_a_module_is_compiled_once_for_all_its_weights(x64):
    traces = []

    def field(rate, t, y, args):
        traces.append(None)
        return -rate * y

    end = lambda rate: flow(jax.tree_util.Partial(field, rate), num_steps=8)(1.0, jnp.array([0.0, 1.0]))[-1]
    for rate in (1.0, 2.0):
        np.testing.assert_allclose(end(jnp.array(rate)), np.exp(-rate), rtol=1e-5)
    assert len(traces) == 1
    np.testing.assert_allclose(jax.grad(end)(jnp.array(2.0)), -np.exp(-2), rtol=1e-4)


@pytest.mark.parametrize("choices", [{}, {"num_steps": 8}])
def test_guards_hold(x64, choices):
    operands = jnp.ones((2, 3)), jnp.array([0.0, 0.5, 1.0]), jnp.array(1.0)
    solve = flow(lambda t, y, rate: -rate * y, **choices)
    slope = jax.jit(jax.grad(lambda y, times, rate: solve(y, times, rate)[-1].sum(), 2))
    with jax.numpy_rank_promotion("raise"), jax.transfer_guard("disallow"):
        states, found = solve(*operands), slope(*operands)
    np.testing.assert_allclose(states[-1], np.exp(-1), rtol=1e-5)
    np.testing.assert_allclose(found, -6 * np.exp(-1), rtol=1e-5)


# -- derivatives that the state does not show ----------------------------------------------------------------------


def _heat(t, y, conductivity):
    padded = jnp.pad(y, 1)
    return conductivity * (y.size + 1) ** 2 * (padded[2:] - 2 * y + padded[:-2])


@pytest.mark.parametrize("solver", ["heun", "bosh3", "tsit5", "dopri5", "dopri8"])
def test_steps_are_stable_for_modes_that_the_start_does_not_hold(x64, solver):
    # Oracle: the matrix exponential. A smooth start is solved by a few long steps, in which other modes would grow.
    size, conductivity = 64, 1e-3
    x = np.linspace(0, 1, size + 2)[1:-1]
    start, weights = np.sin(np.pi * x), np.cos(3 * x) + x**2
    matrix = jax.jacobian(_heat, 1)(0.0, jnp.zeros(size), conductivity)
    expected = weights @ jax.scipy.linalg.expm(matrix)
    end = lambda y: flow(_heat, solver=solver)(y, jnp.array([0.0, 1.0]), conductivity)[-1]
    found = jax.grad(lambda y: weights @ end(y))(start)
    assert np.linalg.norm(found - expected) <= 1e-3 * np.linalg.norm(expected)
    direction = np.random.default_rng(0).standard_normal(size)
    np.testing.assert_allclose(jax.jvp(end, (start,), (direction,))[1] @ weights, found @ direction, rtol=1e-9)


def test_steps_are_stable_for_modes_that_turn(x64):
    # Advection on a ring only moves a state, and so its gradient.
    size, speed = 128, 1.0
    field = lambda t, y, _: -(jnp.roll(y, -1) - jnp.roll(y, 1)) * size / (4 * jnp.pi) * speed
    start = jnp.sin(2 * jnp.pi * jnp.arange(size) / size)
    for solver, span in (("tsit5", 20.0), ("dopri8", 5.0)):
        found = jax.grad(
            lambda y, solver=solver, span=span: flow(field, solver=solver)(y, jnp.array([0.0, span]))[-1, 0]
        )(start)
        np.testing.assert_allclose(jnp.linalg.norm(found), 1, atol=0.05)


@pytest.mark.parametrize("solver", ["bosh3", "tsit5"])
def test_modes_are_found_that_become_steep_late(x64, solver):
    # One part is steep before the other; the state is at rest, and all that it forgets has no gradient.
    rates = lambda t: jnp.stack([100 * jax.nn.sigmoid(-20 * (t - 1)), 1e3 * jax.nn.sigmoid(20 * (t - 1.5))])
    smooth = lambda t, y, _: -rates(t) * y
    sudden = lambda t, y, _: jnp.where(t > 1, -1e3, 0.0) * y
    for field, end in ((smooth, 3.0), (sudden, 2.0)):
        solve = flow(field, solver=solver)
        found = jax.grad(lambda y, solve=solve, end=end: solve(y, jnp.array([0.0, end]))[-1].sum())(jnp.zeros(2))
        assert abs(found).max() < 1e-6


def test_units_of_the_state_do_not_shorten_steps(x64):
    # A damped turn, -1 +- i, its parts in units that are 1e6 apart.
    unit = 1e6
    field = lambda t, y, _: jnp.stack([unit * y[1] - y[0], -y[0] / unit - y[1]])
    solve = flow(field, solver="tsit5", report=True)
    start, times = jnp.array([unit, 1.0]), jnp.array([0.0, 10.0])

    def loss(y):
        found = solve(y, times)
        return found.states[-1].sum(), found.num_steps

    assert jax.grad(loss, has_aux=True)(start)[1] <= 1.1 * solve(start, times).num_steps


def test_numbers_far_below_others_are_no_unit(x64):
    # A wave packet, whose tails are 1e-250 of its middle: numbers that no error is measured in.
    at = jnp.linspace(0.0, 1.0, 42)[1:-1]

    def field(t, y, speed):
        place, rate = y
        wide = jnp.pad(place, 1)
        return jnp.stack([rate, speed * (wide[2:] - 2 * place + wide[:-2]) * 41**2])

    start, times = jnp.stack([jnp.exp(-1600 * (at - 0.4) ** 2), 0 * at]), jnp.array([0.0, 2.0])

    def loss(y, **choices):
        found = flow(field, solver="tsit5", report=True, **choices)(y, times, 0.01)
        return found.states[-1][0, ::2].sum(), found.num_steps

    found, steps = jax.grad(loss, has_aux=True)(start)
    right, _ = jax.grad(loss, has_aux=True)(start, rtol=1e-10, atol=1e-10)
    assert steps <= 2 * loss(start)[1]
    np.testing.assert_allclose(found, right, atol=1e-3 * np.linalg.norm(right))


@pytest.mark.parametrize("solver", ["tsit5", "auto", "kvaerno5"])
def test_stiff_limit_cycles_have_right_gradients(x64, solver):
    # Oracle: Kvaerno's method at tolerances of 1e-11. Frozen steps of Tsit5, unheld, are 1e38 off.
    end = lambda log_mu, **choices: flow(fields.van_der_pol, **choices)(
        jnp.array([2.0, 0.0]), jnp.array([0.0, 20.0]), jnp.exp(log_mu)
    )[-1].sum()
    log_mu = jnp.log(10.0)
    expected = 1.2726802
    found = jax.grad(end)(log_mu, solver=solver, rtol=1e-8, atol=1e-8, max_steps=65536)
    np.testing.assert_allclose(found, expected, rtol=1e-4)


def test_trials_that_overflow_are_no_errors_in_forward_mode(x64):
    mu = 316.23
    solve = lambda mu: flow(fields.van_der_pol, solver="kvaerno5")(
        jnp.array([2.0, 0.0]), jnp.array([0.0, 2 * 316.23]), mu
    )[-1]
    tangent = jax.jit(lambda mu: jax.jvp(solve, (mu,), (1.0,))[1])(mu)
    np.testing.assert_allclose(tangent, jax.jit(jax.jacrev(solve))(mu), rtol=1e-3)


@jax.custom_vjp
def _squared(y):
    return y * y


_squared.defvjp(lambda y: (_squared(y), y), lambda y, bar: (2 * y * bar,))


@pytest.mark.parametrize("choices", [{}, {"num_steps": 20}, {"adjoint": "discrete", "checkpoints": 4}])
def test_fields_with_a_derivative_in_reverse_mode_alone(x64, choices):
    # Oracle: y / (1 + r y t), whose derivative in r is -t y^2 / (1 + r y t)^2.
    solve = flow(lambda t, y, rate: -rate * _squared(y), rtol=1e-8, atol=1e-8, **choices)
    y, times, rate = jnp.array([1.0, 2.0]), jnp.array([0.0, 1.0]), 2.0
    expected = -(y**2) / (1 + rate * y) ** 2
    np.testing.assert_allclose(jax.jacrev(lambda rate: solve(y, times, rate)[-1])(rate), expected, rtol=1e-4)
    np.testing.assert_allclose(jax.jacfwd(lambda rate: solve(y, times, rate)[-1])(rate), expected, rtol=1e-4)


def test_fields_without_derivatives_are_solved(x64):
    shape = jax.ShapeDtypeStruct((), float)
    field = lambda t, y, _: jax.pure_callback(lambda y: -y, shape, y)
    np.testing.assert_allclose(flow(field)(1.0, jnp.array([0.0, 1.0]))[-1], np.exp(-1), rtol=1e-5)
    with pytest.raises(TypeError, match="take an explicit solver"):
        flow(field, solver="kvaerno5")(1.0, jnp.array([0.0, 1.0]))


def test_interior_times_are_no_choice_of_steps(x64):
    # y(t1) of y' = -y from t0 has the slopes y and -y in t0 and t1, and none in a time between them.
    def end(times, adjoint):
        return flow(lambda t, y, _: -y, solver="kvaerno3", rtol=1e-3, atol=1e-3, adjoint=adjoint)(2.0, times)[-1]

    for adjoint in ("discrete", "forward"):
        found = jax.grad(end)(jnp.array([0.0, 0.3, 1.0]), adjoint)
        np.testing.assert_allclose(found, 2 * np.exp(-1) * np.array([1, 0, -1]), rtol=1e-3, atol=1e-12)


def test_adjoints_that_a_field_does_not_allow_are_refused(x64):
    solve = flow(lambda t, y, _: -_squared(y), adjoint="forward")
    with pytest.raises(TypeError, match="take adjoint='discrete'"):
        jax.grad(lambda y: solve(y, jnp.array([0.0, 1.0]))[-1])(1.0)
    undone = flow(lambda t, y, _: -_squared(y), adjoint="reversible", num_steps=50)
    found = jax.grad(lambda y: undone(y, jnp.array([0.0, 1.0]))[-1])(1.0)
    np.testing.assert_allclose(found, 0.25, rtol=1e-3)
