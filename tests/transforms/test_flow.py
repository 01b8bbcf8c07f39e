"""Flow maps: orders of convergence, group laws, three adjoints, failures that show."""

import gc
import weakref

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxcalc.functions import fields
from jaxcalc.transforms.flow import flow
from jaxcalc.transforms.flow_solvers import SOLVER_ORDERS, method
from tests.tolerance import assert_close

DECAY = np.array([2.0, 1.0])


def _relax(**choices):
    return flow(fields.cubic_relaxation, **choices)


def _swing(t, y, rate):
    """``y' = rate cos(t) y``, solved by ``y0 exp(rate sin t)``."""
    return rate * jnp.cos(t) * y


def _orbit(t, pair, mass):
    """A circle in a pulsating frame of time: separable, and driven."""
    place, speed = pair
    return (1 + jnp.sin(t) / 2) * speed, -mass * (1 + jnp.sin(t) / 2) * place / jnp.sum(place**2) ** 1.5


@pytest.mark.parametrize("solver", SOLVER_ORDERS)
def test_order_of_convergence(x64, solver):
    # Oracle: the closed form. Few enough steps that errors stand clear of rounding.
    order = SOLVER_ORDERS[solver]
    few = {1: 64, 2: 32, 8: 4}.get(order, 16)
    end = jnp.array([0.0, 2.0])

    def error(n):
        solve = lambda field: flow(field, solver=solver, num_steps=n, rtol=1e-12, atol=1e-12)
        if not method(solver).symplectic:
            return abs(float(solve(_swing)(jnp.array(1.0), end, 1.0)[-1]) - np.exp(np.sin(2.0)))
        angle = 2 + (1 - np.cos(2.0)) / 2
        place, _ = solve(_orbit)((jnp.array([1.0, 0.0]), jnp.array([0.0, 1.0])), end, 1.0)
        return np.linalg.norm(place[-1] - np.array([np.cos(angle), np.sin(angle)]))

    errors = [error(n) for n in (few, 2 * few)]
    # Methods tuned for a small leading error show the next order until steps are shorter than rounding allows.
    assert order - 0.4 < np.log2(errors[0] / errors[1]) < order + 1.2


@pytest.mark.parametrize("adjoint", ["checkpointed", "backsolve", "direct"])
def test_gradients_of_every_adjoint_meet_the_closed_form(x64, adjoint):
    times = jnp.array([0.0, 0.4, 1.0])
    exact = jax.grad(lambda p: sum(fields.cubic_relaxation_solution(t, 2.0, p) for t in times))(DECAY)
    choices = {"num_steps": 60} if adjoint == "direct" else {"rtol": 1e-9, "atol": 1e-9}
    solve = _relax(adjoint=adjoint, **choices)
    found = jax.jit(jax.grad(lambda p: solve(jnp.array(2.0), times, p).sum()))(DECAY)
    np.testing.assert_allclose(found, exact, rtol=3e-7)


def test_forward_mode_through_direct_is_reverse_mode(x64):
    solve = _relax(adjoint="direct", num_steps=8)
    end = lambda p: solve(jnp.array(2.0), jnp.array([0.0, 1.0]), p)[-1]
    _, pushed = jax.jvp(end, (jnp.asarray(DECAY),), (jnp.array([1.0, -0.5]),))
    assert_close(pushed, jax.grad(end)(DECAY) @ jnp.array([1.0, -0.5]), 16)


def test_flows_compose_and_run_back(x64):
    solve = flow(fields.lotka_volterra, rtol=1e-10, atol=1e-10)
    rates, start = jnp.array([1.5, 1.0, 3.0, 1.0]), jnp.array([1.0, 1.0])
    whole = solve(start, jnp.array([0.0, 1.0, 3.0]), rates)
    second = solve(whole[1], jnp.array([1.0, 3.0]), rates)[-1]
    np.testing.assert_allclose(second, whole[2], rtol=1e-7)
    np.testing.assert_allclose(solve(whole[2], jnp.array([3.0, 0.0]), rates)[-1], start, rtol=1e-6)
    drift = fields.lotka_volterra_invariant(whole, rates) - fields.lotka_volterra_invariant(start, rates)
    np.testing.assert_allclose(drift, 0.0, atol=1e-8)


def test_fixed_steps_meet_uneven_times_exactly(x64):
    times = jnp.array([0.0, 0.1, 0.45, 1.7])
    found = _relax(num_steps=40)(jnp.array([2.0, -1.0]), times, DECAY)
    exact = jnp.stack([fields.cubic_relaxation_solution(times, start, DECAY) for start in (2.0, -1.0)], axis=1)
    assert found.shape == (4, 2)
    np.testing.assert_allclose(found, exact, rtol=1e-6)
    np.testing.assert_array_equal(found[0], [2.0, -1.0])


def test_states_may_be_pytrees_and_lanes_mapped(x64):
    solve = flow(lambda t, y, k: {"x": k * y["v"], "v": -k * y["x"]}, num_steps=50)
    times = jnp.array([0.0, 0.5, 1.0])
    lanes = jax.vmap(lambda k: solve({"x": jnp.array(1.0), "v": jnp.array(0.0)}, times, k))(jnp.array([1.0, 2.0]))
    np.testing.assert_allclose(lanes["x"], np.cos(np.outer([1.0, 2.0], times)), atol=1e-8)


def test_a_failed_solve_is_not_a_number_and_never_a_wrong_one(x64):
    escape = flow(lambda t, y, _: y**2, max_steps=200)  # from 1 it is infinite at t = 1
    states = escape(jnp.array(1.0), jnp.array([0.0, 0.5, 2.0]))
    assert states[1] == pytest.approx(2.0, rel=1e-4)
    assert np.isnan(states[2])
    assert np.isnan(escape(jnp.array(1.0), jnp.array([0.0, 2.0]))[-1])


def test_the_backward_equation_is_solved_not_the_steps(x64):
    # Backsolve gives the flow's gradient, not that of the steps: the two near each other at the method's order
    # at least.
    def gradient(adjoint, steps):
        solve = flow(_swing, solver="heun", num_steps=steps, adjoint=adjoint)
        return float(jax.grad(lambda p: solve(jnp.array(1.0), jnp.array([0.0, 2.0]), p)[-1])(1.0))

    gaps = [abs(gradient("backsolve", n) - gradient("checkpointed", n)) for n in (16, 32)]
    assert gaps[0] > 1e-5
    assert np.log2(gaps[0] / gaps[1]) > 1.6


@pytest.mark.parametrize(
    ("choices", "message"),
    [
        ({"solver": "rk5"}, "solver must be one of .*'tsit5'.* got 'rk5'"),
        ({"adjoint": "continuous"}, "adjoint must be one of .*'backsolve'.* got 'continuous'"),
        ({"solver": "rk4"}, "no error estimate"),
        ({"num_steps": 0}, "at least 1"),
        ({"adjoint": "direct", "checkpoints": 3}, "checkpoints is for"),
    ],
)
def test_wrong_choices_are_refused_at_construction(choices, message):
    with pytest.raises(ValueError, match=message):
        _relax(**choices)


def test_one_time_is_no_interval():
    with pytest.raises(ValueError, match="a start and an end"):
        _relax()(jnp.array(1.0), jnp.array([0.0]), DECAY)


@pytest.mark.parametrize("start", [2.0, 2, np.int32(2), {"y": 2}])
def test_a_start_may_be_any_number(x64, start):
    field = lambda t, y, _: jax.tree.map(jnp.negative, y)
    for times in ([0, 1], [0, 1, 2]):
        states = jax.tree.leaves(flow(field, solver="rk4", num_steps=50)(start, times))[0]
        np.testing.assert_allclose(states, 2 * np.exp(-np.array(times)), rtol=1e-7)


def test_a_failed_solve_has_no_gradient(x64):
    escape = flow(lambda t, y, k: k * y**2, max_steps=100)
    end = lambda k: escape(jnp.array(1.0), jnp.array([0.0, 2.0]), k)[-1]
    assert np.isnan(jax.grad(end)(1.0))


def test_a_backward_solve_that_fails_raises(x64):
    solve = flow(fields.van_der_pol, adjoint="backsolve", max_steps=120)
    end = lambda mu: solve(jnp.array([2.0, 0.0]), jnp.array([0.0, 5.0]), mu)[-1].sum()
    assert np.isfinite(end(10.0))  # forwards the steps suffice
    with pytest.raises(Exception, match="maximum number of solver steps was reached"):
        jax.grad(end)(10.0)


# -- stiff fields, counts ------------------------------------------------------------------------------------------


def _robertson(t, y, rates):
    a, b, c = y
    slow, fast, middle = rates
    return jnp.stack([-slow * a + middle * b * c, slow * a - fast * b**2 - middle * b * c, fast * b**2])


def test_an_implicit_method_solves_what_explicit_ones_cannot(x64):
    # Oracle: the closed form of y' = -k (y - cos t), y(0) = 0.
    field = lambda t, y, k: -k * (y - jnp.cos(t))
    exact = lambda k, t: (k * k * jnp.cos(t) + k * jnp.sin(t) - k * k * jnp.exp(-k * t)) / (1 + k * k)
    times, k = jnp.array([0.0, 0.3, 2.0]), 1e4
    explicit = flow(field, solver="tsit5", report=True)(jnp.array(0.0), times, k)
    assert "kvaerno5" in explicit.explain() and not explicit.reached
    for solver in ("kvaerno3", "kvaerno5"):
        implicit = flow(field, solver=solver, report=True, rtol=1e-8, atol=1e-8)(jnp.array(0.0), times, k)
        assert implicit.reached
        np.testing.assert_allclose(implicit.states[1:], exact(k, times[1:]), rtol=1e-6)
    backward = jax.grad(lambda k: flow(field, solver="kvaerno5", rtol=1e-9, atol=1e-9)(0.0, times, k)[-1])(k)
    np.testing.assert_allclose(backward, jax.grad(exact)(k, 2.0), rtol=1e-3)


def test_gradients_of_stiff_kinetics_are_those_of_forward_mode(x64):
    # Oracle: forward mode through the same steps. The state: E. Hairer, G. Wanner, Solving ODEs II.
    rates = jnp.array([0.04, 3e7, 1e4])
    solve = lambda adjoint: flow(_robertson, solver="kvaerno5", adjoint=adjoint, rtol=1e-7, atol=1e-11)
    end = lambda adjoint: lambda rates: solve(adjoint)(jnp.array([1.0, 0.0, 0.0]), jnp.array([0.0, 1e5]), rates)[-1]
    np.testing.assert_allclose(end("checkpointed")(rates), [1.786592e-2, 7.274753e-8, 0.9821340], rtol=1e-4)
    backward, forward = jax.jacrev(end("checkpointed"))(rates), jax.jacfwd(end("forward"))(rates)
    assert (abs(backward - forward) <= 1e-6 * abs(forward).max(0)).all()


def test_implicit_steps_are_few_and_end_in_single_precision():
    field = lambda t, y, _: -y * jnp.cos(3 * t)
    times = jnp.array([0.0, 1.0])
    for solver in ("kvaerno3", "kvaerno5"):
        for choices in ({}, {"num_steps": 40}):
            found = flow(field, solver=solver, report=True, rtol=1e-5, atol=1e-5, **choices)(jnp.ones(3), times)
            assert found.reached and found.num_steps <= 40
            np.testing.assert_allclose(found.states[-1], np.exp(-np.sin(3.0) / 3), rtol=1e-4)


@pytest.mark.parametrize("solver", ["heun", "bosh3", "tsit5", "dopri8", "implicit_euler", "kvaerno5"])
def test_evaluations_are_counted(solver):
    counted = []

    def field(t, y, _):
        jax.debug.callback(lambda t: counted.append(t), t)
        return -y * jnp.cos(3 * t)

    for choices in ({"rtol": 1e-3, "atol": 1e-3}, {"num_steps": 3}):
        counted.clear()
        found = flow(field, solver=solver, report=True, **choices)(jnp.ones(2), jnp.array([0.0, 0.5, 1.0]))
        jax.block_until_ready(found)
        jax.effects_barrier()
        assert len(counted) == found.evaluations
        assert found.num_accepted <= found.num_steps


def test_evaluations_of_another_librarys_implicit_steps_are_not_told():
    solve = flow(_decay, solver="kvaerno3", adjoint="checkpointed", report=True)
    assert solve(1.0, jnp.array([0.0, 1.0])).evaluations == -1


# -- misuse and failure --------------------------------------------------------------------------------------------


def _decay(t, y, _):
    return jax.tree.map(jnp.negative, y)


@pytest.mark.parametrize("choices", [{}, {"solver": "rk4", "num_steps": 4}])
@pytest.mark.parametrize(
    "times", [[0.0, np.nan], [0.0, np.nan, 1.0], [np.nan, 1.0], [0.0, np.inf], [-np.inf, 0.0, 1.0]]
)
def test_times_that_are_none_are_refused_or_no_numbers(choices, times):
    solve = flow(_decay, report=True, **choices)
    with pytest.raises(ValueError, match="flow: times must be finite, got"):
        solve(jnp.array([1.0]), jnp.array(times))
    found = jax.jit(solve)(jnp.array([1.0]), jnp.array(times))
    assert np.isnan(found.states[1:]).all() and found.states[0] == 1 and not found.reached
    assert found.explain().startswith("no flow")


def test_times_are_in_order_or_the_same(x64):
    times = jnp.array([0.0, 1.0, 0.5])
    with pytest.raises(ValueError, match="flow: times must increase or decrease"):
        flow(_decay)(1.0, times)
    assert np.isnan(jax.jit(flow(_decay))(1.0, times)[1:]).all()
    np.testing.assert_allclose(flow(_decay, solver="rk4", num_steps=40)(1.0, times), np.exp(-times), rtol=1e-8)
    np.testing.assert_allclose(flow(_decay)(1.0, jnp.array([0.0, 0.0, 1.0])), [1, 1, np.exp(-1)], rtol=1e-6)


@pytest.mark.parametrize(
    ("choices", "error", "message"),
    [
        ({"rtol": -1.0}, ValueError, "flow: rtol must be finite and at least 0, got -1.0"),
        ({"atol": -1e-9}, ValueError, "flow: atol must be finite and at least 0"),
        ({"rtol": np.nan}, ValueError, "flow: rtol must be .* got nan"),
        ({"atol": np.inf}, ValueError, "flow: atol must be .* got inf"),
        ({"rtol": 0.0, "atol": 0.0}, ValueError, "flow: rtol and atol must not both be 0"),
        ({"rtol": "tight"}, TypeError, "flow: rtol must be a real number, got 'tight'"),
        ({"atol": 1j}, TypeError, "flow: atol must be a real number"),
        ({"rtol": True}, TypeError, "flow: rtol must be a real number"),
        ({"rtol": np.ones(2)}, ValueError, "flow: rtol must be a scalar"),
        ({"max_steps": 0}, ValueError, "flow: max_steps must be at least 1"),
        ({"max_steps": 2.5}, TypeError, "flow: max_steps must be a whole number"),
        ({"checkpoints": 0}, ValueError, "flow: checkpoints must be at least 1"),
        ({"checkpoints": 1.5}, TypeError, "flow: checkpoints must be a whole number"),
        ({"num_steps": 3.0}, TypeError, "flow: num_steps must be a whole number"),
    ],
)
def test_numbers_are_in_range(choices, error, message):
    with pytest.raises(error, match=message):
        flow(_decay, **choices)


@pytest.mark.parametrize(("y0", "times"), [((), [0.0, 1.0]), (1.0, [0.0, 1j]), (1.0, 0.5), (1.0, [[0.0, 1.0]])])
def test_starts_and_times_of_another_kind_are_refused(y0, times):
    with pytest.raises((TypeError, ValueError), match=r"flow: (y0|times) must"):
        flow(_decay)(y0, times)


def test_traced_tolerances_out_of_range():
    run = jax.jit(lambda rtol: flow(_decay, rtol=rtol, report=True)(1.0, jnp.array([0.0, 1.0])))
    assert run(1e-3).reached
    for rtol in (-1.0, np.nan):
        found = run(rtol)
        assert np.isnan(found.states[-1]) and not found.reached


FAILURES = {
    # name: (field, choices, beginning of the words)
    "stiff": (lambda t, y, _: -1e5 * (y - jnp.cos(t)), {"max_steps": 256, "solver": "tsit5"}, "stiff"),
    "infinite at 1": (lambda t, y, _: y**2, {"max_steps": 256}, "out of steps"),
    "unstable steps": (lambda t, y, _: -1e4 * (y - jnp.cos(t)), {"solver": "euler", "num_steps": 100}, "not finite"),
    "a field of NaN": (lambda t, y, _: y * jnp.nan, {"solver": "rk4", "num_steps": 4}, "not finite"),
}


@pytest.mark.parametrize("name", FAILURES)
def test_a_failure_says_why(name):
    field, choices, words = FAILURES[name]
    found = jax.jit(flow(field, report=True, **choices))(jnp.array(1.0), jnp.array([0.0, 0.01, 2.0]))
    assert not found.reached and found.explain().startswith(words)
    assert not np.isfinite(found.states[-1])


@pytest.mark.parametrize("choices", [{}, {"solver": "rk4", "num_steps": 8}])
def test_a_report_of_lanes(choices):
    run = flow(lambda t, y, k: k * y**2, report=True, **choices)
    found = jax.jit(jax.vmap(run, (0, None, None)))(jnp.array([0.1, 0.2]), jnp.array([0.0, 1.0, 2.0]), 1.0)
    assert found.reached.all() and found.states.shape == (2, 3) and (found.num_steps >= 2).all()
    assert found.explain() == "reached: the states at all times were computed"


def _used(choices):
    """Weak references to a field and to what it closes over, after a value twice and a gradient; how often traced."""
    traces, rate, times = [], jnp.ones(1000), jnp.array([0.0, 1.0])

    def field(t, y, args):
        traces.append(None)
        return -rate[0] * y

    run = flow(field, **choices)
    run(1.0, times)
    once = len(traces)
    flow(field, **choices)(2.0, times)
    again = len(traces)
    jax.grad(lambda y: run(y, times)[-1])(1.0)
    return weakref.ref(field), weakref.ref(rate), once, again


@pytest.mark.parametrize("choices", [{}, {"solver": "rk4", "num_steps": 4}, {"adjoint": "direct"}])
def test_fields_are_let_go_and_not_compiled_twice(choices):
    field, rate, once, again = _used(choices)
    gc.collect()
    assert field() is None and rate() is None
    assert once == again


def test_arguments_that_are_no_arrays_are_part_of_the_program():
    run = flow(lambda t, y, args: -args["rate"] * args["of"](y), solver="rk4", num_steps=8)
    times = jnp.array([0.0, 1.0])
    for of, rate in ((jnp.sin, 1.0), (jnp.cos, 1.0), (jnp.cos, 2), (jnp.cos, np.float64(3))):
        expected = flow(lambda t, y, _, of=of, rate=rate: -rate * of(y), solver="rk4", num_steps=8)(0.5, times)
        np.testing.assert_allclose(run(0.5, times, {"rate": rate, "of": of}), expected, rtol=1e-6)
