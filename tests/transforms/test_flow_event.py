"""Events, paths between times, symplectic steps and the adjoint by quadrature, beside closed forms."""

import gc

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.special import ellipk

from jaxcalc.functions import fields
from jaxcalc.transforms.flow import flow
from jaxcalc.transforms.program_cache import _KEPT
from tests.tolerance import assert_close

TIGHT = {"rtol": 1e-10, "atol": 1e-10, "solver": "tsit5"}
TEN = np.array([0.0, 10.0])


def _fall(t, state, gravity):
    return state[1], -gravity * jnp.ones_like(state[1])


def _height(t, state, gravity):
    return state[0]


def _dropped(height, gravity, **choices):
    solve = flow(_fall, event=_height, direction="falling", report=True, solver="tsit5", **choices)
    return solve((height, jnp.zeros(())), TEN, gravity)


def _swing(t, state, _):
    return jnp.stack([state[1], -jnp.sin(state[0])])


class TestEvents:
    @pytest.mark.parametrize("adjoint", ["auto", "discrete", "forward", "quadrature"])
    def test_a_falling_stone(self, x64, adjoint):
        found = jax.jit(lambda h, g: _dropped(h, g, adjoint=adjoint))(jnp.array(10.0), 9.81)
        assert int(found.status) == 7 and int(found.event) == 0 and "event" in found.explain()
        assert_close(found.time, np.sqrt(20 / 9.81), 64)
        assert_close(found.end[1], -np.sqrt(20 * 9.81), 64)
        assert np.isnan(found.states[0][-1]) and found.states[0][0] == 10
        slopes = jax.jit(jax.grad(lambda h, g: _dropped(h, g, adjoint=adjoint).time, (0, 1)))(jnp.array(10.0), 9.81)
        np.testing.assert_allclose(slopes, [1 / np.sqrt(2 * 9.81 * 10), -np.sqrt(5) * 9.81**-1.5], rtol=1e-10)

    def test_lanes_end_each_at_its_own_time(self, x64):
        heights = jnp.array([1.0, 10.0, 1000.0])
        found = jax.vmap(lambda height: _dropped(height, 9.81))(heights)
        np.testing.assert_array_equal(found.status, [7, 7, 0])
        np.testing.assert_allclose(found.time, np.minimum(np.sqrt(2 * heights / 9.81), 10), rtol=1e-12)
        speeds = jax.vmap(jax.grad(lambda height: _dropped(height, 9.81).end[1]))(heights)
        np.testing.assert_allclose(speeds, [-np.sqrt(9.81 / 2), -np.sqrt(9.81 / 20), 0], rtol=1e-10, atol=1e-14)

    def test_periods_of_a_pendulum_forwards_and_back(self, x64):
        # Oracle: the complete elliptic integral. The flow starts at a zero of the event and leaves it.
        solve = flow(_swing, event=lambda t, y, _: y[1], direction="falling", report=True, **TIGHT)
        period = lambda angle, end: solve(jnp.stack([angle, 0.0]), jnp.array([0.0, end])).time
        exact = lambda angle: 4 * ellipk(np.sin(angle / 2) ** 2)
        found, slope = jax.value_and_grad(period)(0.5, 20.0)
        assert abs(found - exact(0.5)) < 1e-8
        assert abs(slope - (exact(0.5 + 1e-5) - exact(0.5 - 1e-5)) / 2e-5) < 1e-6
        # Backwards the speed begins positive, and falls through zero after half a period.
        assert abs(period(0.5, -20.0) + exact(0.5) / 2) < 1e-8

    def test_the_first_of_several_and_between_two_ends_of_a_step(self, x64):
        # One long step leads up through the ceiling and down again.
        ceiling = lambda t, y, _: jnp.stack([y[0] + 100, y[0] - 4.9])
        solve = flow(_fall, event=ceiling, report=True)
        found = solve((jnp.zeros(()), jnp.array(10.0)), jnp.array([0.0, 2.0]), 9.81)
        assert int(found.event) == 1
        assert_close(found.time, (10 - np.sqrt(100 - 2 * 9.81 * 4.9)) / 9.81, 512)

    def test_a_stiff_field_by_implicit_steps(self, x64):
        relax = lambda t, y, rate: -rate * (y - jnp.cos(t))
        tight = TIGHT | {"solver": "kvaerno5"}
        solve = flow(relax, event=lambda t, y, _: y - 0.3, direction="falling", report=True, **tight)
        run = lambda rate: solve(jnp.array(0.0), jnp.array([0.0, 2.0]), rate)
        found = run(1e4)
        # The slow manifold is cos t + sin t / rate, nearly.
        exact = lambda rate: np.pi / 2 - np.arcsin(0.3 / np.sqrt(1 + rate**-2)) + np.arctan(1 / rate)
        assert int(found.status) == 7 and abs(found.time - exact(1e4)) < 1e-8
        slope = (exact(1e4 + 10) - exact(1e4 - 10)) / 20
        np.testing.assert_allclose(jax.grad(lambda rate: run(rate).time)(1e4), slope, rtol=1e-3)

    def test_saved_times_before_it(self, x64):
        times = jnp.array([0.0, 0.5, 1.0, 9.0])
        solve = flow(_fall, event=_height, report=True, solver="tsit5")
        height = lambda g: solve((jnp.array(10.0), jnp.zeros(())), times, g).states[0]
        np.testing.assert_allclose(height(9.81)[:3], 10 - 9.81 / 2 * times[:3] ** 2, rtol=1e-12)
        assert np.isnan(height(9.81)[3])
        np.testing.assert_allclose(jax.grad(lambda g: height(g)[:3].sum())(9.81), -0.625, rtol=1e-12)

    def test_a_step_past_the_zero_that_ends_at_the_last_time(self, x64):
        turn = lambda t, y, rate: jnp.stack([y[1], -rate * y[0]])
        solve = flow(turn, event=lambda t, y, _: y[0] - 0.2, report=True, solver="tsit5")
        run = lambda rate: solve(jnp.array([1.0, 0.0]), jnp.array([0.0, 1.5]), rate).time
        exact = np.arccos(0.2)
        np.testing.assert_allclose(run(1.0), exact, rtol=1e-5)
        np.testing.assert_allclose(jax.value_and_grad(run)(1.0), [exact, -exact / 2], rtol=1e-4)
        np.testing.assert_allclose(jax.jvp(run, (1.0,), (1.0,)), [exact, -exact / 2], rtol=1e-4)

    @pytest.mark.parametrize("adjoint", ["discrete", "quadrature"])
    @pytest.mark.parametrize("way", [1.0, -1.0])
    def test_time_moves_with_the_first_one(self, x64, adjoint, way):
        # y' = 2 t from y0 at t0: y = 1 at the root of t0^2 + 1 - y0.
        solve = flow(lambda t, y, _: 2 * t, event=lambda t, y, _: y - 1, report=True, solver="tsit5", adjoint=adjoint)
        run = lambda t0: solve(0.1, jnp.stack([t0, t0 + 5 * way])).time
        t0 = way * 0.5
        np.testing.assert_allclose(run(t0), way * np.sqrt(0.25 + 0.9), rtol=1e-6)
        np.testing.assert_allclose(jax.grad(run)(t0), t0 / (way * np.sqrt(1.15)), rtol=1e-5)

    def test_a_bouncing_ball(self, x64):
        # Each leg goes on from the state that the last one ended with, at a zero but for rounding.
        solve = flow(_fall, event=_height, report=True, solver="tsit5")

        def last_time(restitution):
            def leg(carry, _):
                t, height, speed = carry
                found = solve((height, speed), jnp.stack([t, t + 10]), 9.81)
                return (found.time, found.end[0], -restitution * found.end[1]), found.status

            (t, _, _), status = jax.lax.scan(leg, (0.0, 10.0, 0.0), length=5)
            return t, status

        (found, status), slope = jax.value_and_grad(last_time, has_aux=True)(0.8)
        fall = np.sqrt(2 * 10 / 9.81)
        powers = np.arange(1, 5)
        np.testing.assert_array_equal(status, 7)
        np.testing.assert_allclose(found, fall * (1 + 2 * (0.8**powers).sum()), rtol=1e-9)
        np.testing.assert_allclose(slope, 2 * fall * (powers * 0.8 ** (powers - 1)).sum(), rtol=1e-8)

    def test_jumps_and_poles_have_a_time_and_no_derivative(self, x64):
        for event in (lambda t, y, _: jnp.where(y > 1.2345, y, -y), lambda t, y, _: 1 / (y - 1.2345)):
            solve = flow(lambda t, y, a: a * jnp.ones_like(y), event=event, report=True, solver="tsit5")
            time, slope = jax.value_and_grad(lambda a, solve=solve: solve(0.1, TEN, a).time)(1.0)
            np.testing.assert_allclose(time, 1.1345, rtol=1e-9)
            assert np.isnan(slope)

    def test_other_precisions_and_events_of_reverse_mode_alone(self, x64):
        solve = flow(lambda t, y, a: -a * y, event=lambda t, y, a: y - a / 2, report=True, solver="tsit5")
        found = solve(np.float32(1), np.array([0, 2], np.float32), np.float64(1))
        np.testing.assert_allclose(found.time, np.log(2), rtol=1e-5)

        @jax.custom_vjp
        def below(y):
            return y - 0.5

        below.defvjp(lambda y: (below(y), None), lambda _, bar: (bar,))
        run = flow(lambda t, y, a: -a * y, event=lambda t, y, _: below(y), report=True, solver="tsit5")
        slope = jax.grad(lambda a: run(1.0, TEN, a).time)(1.0)
        np.testing.assert_allclose(slope, -np.log(2), rtol=1e-4)

    def test_at_the_last_time(self, x64):
        found = flow(_fall, event=lambda t, y, _: t - 1, report=True)((1.0, 0.0), jnp.array([0.0, 1.0]), 9.81)
        np.testing.assert_allclose(found.states[0][-1], found.end[0], rtol=1e-12)

    def test_a_field_that_is_no_number_ends_at_once(self):
        found = flow(lambda t, y, a: a * y, report=True, solver="tsit5")(1.0, TEN, jnp.nan)
        assert int(found.status) == 2 and int(found.num_steps) == 0

    def test_no_slope_is_no_derivative(self, x64):
        solve = flow(lambda t, y, a: a, event=lambda t, y, _: jnp.sign(y - 1), report=True)
        assert not np.isfinite(jax.grad(lambda a: solve(jnp.zeros(()), TEN, a).time)(1.0))

    def test_programs_go_with_their_events(self):
        def field(t, y, _):
            return jnp.ones_like(y)

        for level in range(3):
            run = flow(field, event=lambda t, y, _, level=level: y - level - 0.5, report=True)
            assert abs(float(run(jnp.zeros(()), TEN).time) - level - 0.5) < 1e-5
            del run
        gc.collect()
        assert len(_KEPT[id(field)][1]) <= 2

    def test_methods_of_objects(self):
        class Wall:
            at = 2.0

            def distance(self, t, y, _):
                return y - self.at

        wall = Wall()
        run = flow(lambda t, y, _: jnp.ones_like(y), event=wall.distance, report=True)
        assert abs(float(run(jnp.zeros(()), TEN).time) - 2) < 1e-5

    @pytest.mark.parametrize(
        ("choices", "words"),
        [
            ({"event": _height}, "report=True"),
            ({"event": _height, "report": True, "num_steps": 4}, "leave num_steps out"),
            ({"event": _height, "report": True, "adjoint": "backsolve"}, "event is for adjoint='auto' or 'discrete'"),
            ({"event": _height, "report": True, "direction": "up"}, "direction"),
            ({"direction": "rising"}, "give event"),
            ({"dense": True}, "report=True"),
            ({"dense": True, "report": True, "max_steps": None}, "max_steps"),
            ({"dense": True, "report": True, "adjoint": "quadrature"}, "dense=True is for adjoint='auto'"),
            ({"solver": "kvaerno5", "adjoint": "quadrature"}, "explicit"),
            ({"solver": "leapfrog"}, "num_steps"),
            ({"solver": "leapfrog", "num_steps": 3, "adjoint": "checkpointed"}, "reversible"),
            ({"solver": "leapfrog", "num_steps": 3, "dense": True, "report": True}, "no path"),
        ],
    )
    def test_mistakes_are_told(self, choices, words):
        with pytest.raises(ValueError, match=words):
            flow(_fall, **choices)

    @pytest.mark.parametrize("value", [jnp.ones((2, 2)), 1j, ()])
    def test_what_is_no_number(self, value):
        solve = flow(_fall, event=lambda t, y, _: value, report=True)
        with pytest.raises((TypeError, ValueError), match="event"):
            solve((jnp.array(1.0), jnp.zeros(())), TEN, 9.81)

    def test_an_event_that_is_no_number(self, x64):
        found = flow(_fall, event=lambda t, y, _: jnp.sqrt(y[0] - 5), report=True)(
            (jnp.array(10.0), jnp.zeros(())), TEN, 9.81
        )
        assert int(found.status) == 2 and int(found.event) == -1


class TestPaths:
    @pytest.mark.parametrize(("solver", "error"), [("auto", 1e-5), ("dopri8", 1e-5), ("kvaerno5", 2e-4)])
    def test_between_times(self, x64, solver, error):
        start, times = jnp.array([0.5, 0.0]), jnp.array([0.0, 20.0])
        found = flow(_swing, dense=True, report=True, solver=solver)(start, times)
        ask = jnp.linspace(0.0, 20.0, 41)
        exact = flow(_swing, solver="dopri8", rtol=1e-12, atol=1e-12)(start, ask)
        assert float(jnp.abs(found.path(ask) - exact).max()) < error
        np.testing.assert_array_equal(found.path(0.0), start)
        assert_close(found.path(20.0), found.end, 64)
        assert found.path(ask.reshape(1, 41)).shape == (1, 41, 2)
        assert np.isnan(found.path(20.5)).all() and np.isnan(found.path(-0.1)).all()
        assert float(found.path.start) == 0 and float(found.path.end) == 20

    def test_backwards_through_two_solvers(self, x64):
        # Long implicit steps draw cubics.
        relax = lambda t, y, _: 1e5 * (y - jnp.cos(t))
        found = jax.jit(lambda y: flow(relax, dense=True, report=True)(y, jnp.array([2.0, 0.0])))(jnp.array(0.0))
        assert len(found.path.grids) == 2 and all(int(count) > 0 for count in found.path.counts)
        times = jnp.linspace(0.0, 1.9, 20)
        assert float(jnp.abs(found.path(times) - jnp.cos(times)).max()) < 3e-3

    @pytest.mark.parametrize("adjoint", ["discrete", "forward"])
    def test_derivatives(self, x64, adjoint):
        solve = flow(_swing, dense=True, report=True, adjoint=adjoint, **TIGHT)
        between = lambda y: solve(y, jnp.array([0.0, 5.0])).path(jnp.array([1.3, 3.7])).sum()
        at_times = lambda y: flow(_swing, **TIGHT)(y, jnp.array([0.0, 1.3, 3.7, 5.0]))[1:3].sum()
        start = jnp.array([0.5, 0.1])
        np.testing.assert_allclose(jax.grad(between)(start), jax.grad(at_times)(start), rtol=1e-6)
        push = lambda run: jax.jvp(run, (start,), (jnp.array([1.0, 2.0]),))[1]
        np.testing.assert_allclose(push(between), push(at_times), rtol=1e-6)

    def test_not_in_the_times(self):
        solve = flow(_swing, dense=True, report=True)
        with pytest.raises(TypeError, match="dense=True"):
            jax.grad(lambda end: solve(jnp.array([0.5, 0.0]), jnp.stack([0 * end, end])).path(1.0).sum())(5.0)

    def test_of_a_flow_that_failed(self, x64):
        solve = flow(_swing, dense=True, report=True, solver="tsit5", max_steps=8)
        run = lambda y: solve(jnp.stack([y, 0.0]), 5 * TEN).path(jnp.array([0.3, 40.0])).sum()
        value, slope = jax.value_and_grad(run)(0.5)
        assert np.isnan(value) and np.isnan(slope)

    def test_to_an_event(self, x64):
        solve = flow(_swing, event=lambda t, y, _: y[0], dense=True, report=True, **TIGHT)
        found = jax.vmap(lambda angle: solve(jnp.stack([angle, 0.0]), TEN))(jnp.linspace(0.2, 2.5, 8))
        ends = jax.vmap(lambda path, t: path(t))(found.path, found.time)
        np.testing.assert_allclose(ends, found.end, atol=1e-8)
        np.testing.assert_array_equal(jax.vmap(lambda path: path.end)(found.path), found.time)

    def test_of_equal_steps(self, x64):
        found = flow(_swing, dense=True, report=True, solver="tsit5", num_steps=20)(jnp.array([0.5, 0.0]), TEN)
        assert_close(found.path(10.0), found.states[-1], 64)


def _pulled(t, pair, mass):
    place, speed = pair
    return speed, -mass * place / jnp.sum(place**2) ** 1.5


CIRCLE = np.array([1.0, 0.0]), np.array([0.0, 1.0])


class TestSymplectic:
    def test_energy_does_not_drift(self, x64):
        solve = lambda solver: flow(_pulled, solver=solver, num_steps=40)(CIRCLE, jnp.linspace(0.0, 600.0, 61), 1.0)

        def drift(solver):
            place, speed = solve(solver)
            energy = (speed**2).sum(1) / 2 - 1 / jnp.linalg.norm(place, axis=1)
            return float(jnp.abs(energy + 0.5).max())

        assert drift("leapfrog") < 1e-3 < 10 * 1e-3 < drift("midpoint")

    @pytest.mark.parametrize("solver", ["symplectic_euler", "leapfrog", "yoshida4"])
    def test_adjoints_agree(self, x64, solver):
        def loss(mass, adjoint):
            place, speed = flow(_pulled, solver=solver, num_steps=20, adjoint=adjoint)(
                CIRCLE, jnp.array([0.0, 1.0, 2.0]), mass
            )
            return place[1:].sum() + (speed**2).sum()

        slopes = [jax.grad(loss)(1.0, adjoint) for adjoint in ("discrete", "forward", "reversible", "auto")]
        np.testing.assert_allclose(slopes, slopes[0], rtol=1e-11)

    def test_the_gradient_of_a_hamiltonian(self, x64):
        def field(t, pair, weights):
            energy = lambda q, p: jnp.sum(p**2) / 2 + jnp.sum(jnp.cosh(weights @ q))
            dq, dp = jax.grad(energy, (0, 1))(*pair)
            return dp, -dq

        weights = jnp.array([[1.0, 0.2], [0.3, 0.8]])
        path = lambda **choices: flow(field, **choices)(CIRCLE, TEN / 5, weights)[0][-1]
        np.testing.assert_allclose(path(solver="yoshida4", num_steps=200), path(**TIGHT), rtol=1e-6)

    def test_a_field_of_one_array(self, x64):
        def field(t, pair, _):
            rates = fields.kepler(t, jnp.concatenate(pair))
            return rates[:2], rates[2:]

        place, _ = flow(field, solver="leapfrog", num_steps=400)(CIRCLE, TEN / 5)
        np.testing.assert_allclose(place[-1], [np.cos(2.0), np.sin(2.0)], atol=1e-5)

    def test_what_is_not_separable(self):
        solve = flow(lambda t, y, _: (y[1] - y[0], -y[0]), solver="leapfrog", num_steps=3)
        with pytest.raises(ValueError, match="positions depend on the positions"):
            solve((jnp.array(1.0), jnp.array(0.0)), TEN)
        choosing = lambda t, y, _: (jnp.where(y[0] > 0, y[1], 2 * y[1]), -y[0])
        with pytest.raises(ValueError, match="positions depend on the positions"):
            flow(choosing, solver="leapfrog", num_steps=3)((jnp.array(1.0), jnp.array(0.0)), TEN)
        walls = lambda t, y, _: (y[1], -jnp.where(y[0] > 0, y[0], 2 * y[0]))
        assert np.isfinite(flow(walls, solver="leapfrog", num_steps=3)((jnp.array(1.0), jnp.array(0.0)), TEN)[0]).all()
        with pytest.raises(TypeError, match="pair"):
            flow(lambda t, y, _: -y, solver="leapfrog", num_steps=3)(jnp.ones(2), TEN)


class TestQuadrature:
    @pytest.mark.parametrize(
        ("choices", "error"),
        [({}, 1e-5), ({"num_steps": 20}, 1e-6), ({"checkpoints": 8}, 1e-5)],
    )
    def test_lotka_volterra(self, x64, choices, error):
        rates, start, times = jnp.array([1.5, 1.0, 3.0, 1.0]), jnp.array([10.0, 5.0]), jnp.linspace(0.0, 5.0, 11)

        def slopes(**choices):
            loss = lambda y, ts, p: flow(fields.lotka_volterra, **choices)(y, ts, p).sum()
            return jax.jit(jax.grad(loss, (0, 1, 2)))(start, times, rates)

        exact = slopes(adjoint="discrete", solver="tsit5", rtol=1e-12, atol=1e-12)
        tight = {"rtol": 1e-8, "atol": 1e-8} | choices
        for found, right in zip(slopes(adjoint="quadrature", **tight), exact, strict=True):
            assert float(jnp.linalg.norm(found - right)) < error * float(jnp.linalg.norm(right))

    @pytest.mark.parametrize("choices", [{}, {"num_steps": 4}])
    def test_the_end_moves_with_the_last_time(self, x64, choices):
        solve = flow(
            lambda t, y, a: 2.0 * jnp.ones_like(y), report=True, adjoint="quadrature", solver="tsit5", **choices
        )
        np.testing.assert_allclose(jax.grad(lambda end: solve(0.1, jnp.stack([0 * end, end])).end)(3.0), 2, rtol=1e-9)

    def test_backwards_in_time_and_lanes(self, x64):
        loss = lambda y, adjoint: flow(_swing, adjoint=adjoint, **TIGHT)(y, -TEN / 5)[-1].sum()
        starts = jnp.array([[0.5, 0.0], [2.5, 0.3]])
        found, right = (
            jax.vmap(jax.grad(lambda y, adjoint=adjoint: loss(y, adjoint)))(starts)
            for adjoint in ("quadrature", "discrete")
        )
        np.testing.assert_allclose(found, right, rtol=1e-6)
