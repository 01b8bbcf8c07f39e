"""Recurrent cells against their formulas written out, gradients through time against products of Jacobians."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxcalc.functions import gates
from jaxcalc.functions.activations import tanh
from jaxcalc.models import recurrent
from jaxcalc.models.measurements import lagged_jacobians, state_gradients, state_jacobians, state_norms
from tests.tolerance import assert_close

CELLS = {
    "rnn": {"bias": 0.1},
    "lstm": {"forget_bias": 1.0, "spectrum": "orthogonal"},
    "gru": {"update_bias": 0.5},
}
sigmoid = jax.nn.sigmoid


def _network(name, width=5, inputs=3, outputs=2, **choices):
    return recurrent.recurrent_network(recurrent.make_cell(name, inputs, width, **CELLS[name]), outputs, **choices)


def _written_out(name, params, state, x):
    """One step as the docstrings have it, gate by gate."""
    if name == "gru":
        (u_r, u_u), (w_r, w_u), (b_r, b_u) = (np.split(np.asarray(a), 2, -1) for a in params.gates)
        r, u = (sigmoid(x @ a + state @ w + b) for a, w, b in ((u_r, w_r, b_r), (u_u, w_u, b_u)))
        own = params.candidate
        return u * state + (1 - u) * jnp.tanh(x @ own.inputs + (r * state) @ own.recurrent + own.biases)
    if name == "lstm":
        gates = zip(*(np.split(np.asarray(a), 4, -1) for a in params))
        i, f, g, o = (x @ a + state.hidden @ w + b for a, w, b in gates)
        cell = sigmoid(f) * state.cell + sigmoid(i) * jnp.tanh(g)
        return recurrent.LSTMState(sigmoid(o) * jnp.tanh(cell), cell)
    return jnp.tanh(x @ params.inputs + state @ params.recurrent + params.biases)


@pytest.mark.parametrize("name", recurrent.CELLS)
def test_a_network_is_its_cell_step_by_step(x64, name):
    network = _network(name)
    params = network.init(jax.random.key(0))
    x = jax.random.normal(jax.random.key(1), (6, 4, 3))
    outputs, states = network.trace(params, x)
    assert outputs.shape == (6, 4, 2)
    assert {leaf.shape for leaf in jax.tree.leaves(states)} == {(7, 4, 5)}
    state = network.cell.start((4,), x.dtype)
    for t in range(6):
        state = _written_out(name, params.cell, state, x[t])
        assert_close(outputs[t], network.cell.output(state) @ params.readout, 64, scale=1.0)
    swapped = _network(name, batch_first=True)
    assert_close(jnp.swapaxes(swapped.apply(params, jnp.swapaxes(x, 0, 1)), 0, 1), outputs, 16, scale=1.0)
    assert_close(network.apply(params, x[:, 1]), outputs[:, 1], 16, scale=1.0)


@pytest.mark.parametrize("name", recurrent.CELLS)
def test_the_gradient_through_time_is_a_product_of_jacobians(x64, name):
    network = _network(name)
    params = network.init(jax.random.key(0))
    x = jax.random.normal(jax.random.key(1), (9, 3))
    _, states = network.trace(params, x)
    lags = lagged_jacobians(state_jacobians(network.cell.step, params.cell, states, x))
    gradients = state_gradients(network.trace, lambda o: jnp.sin(o[-1]), params, x)
    flat = jnp.concatenate(jax.tree.leaves(gradients), -1)
    for lag in range(10):
        assert_close(flat[9 - lag], flat[9] @ lags[lag], 256, scale=float(jnp.abs(flat).max()))
    assert_close(state_norms(gradients), jnp.linalg.norm(flat, axis=-1), 16)
    whole = jax.jacobian(lambda s: network.trace(params, x, state=s)[1])(jax.tree.map(lambda a: a[0], states))
    if name != "lstm":
        assert_close(whole[-1], lags[-1], 256, scale=float(jnp.abs(lags[-1]).max()))


def test_a_linear_recurrence_multiplies_by_one_matrix(x64):
    cell = recurrent.rnn_cell(1, 6, phi="linear")
    network = recurrent.recurrent_network(cell, 1)
    params = network.init(jax.random.key(0))
    whole = jax.jacobian(lambda s: network.trace(params, jnp.zeros((20, 1)), state=s)[1][-1])(jnp.zeros(6))
    power = np.linalg.matrix_power(np.asarray(params.cell.recurrent), 20).T
    assert_close(whole, power, 512, scale=float(abs(power).max()))


@pytest.mark.parametrize("name", recurrent.CELLS)
def test_truncation_goes_back_so_far_and_no_farther(x64, name):
    network = _network(name)
    params = network.init(jax.random.key(0))
    x = jax.random.normal(jax.random.key(1), (12, 3))
    last = lambda p, x, **choices: network.apply(p, x, **choices)[-1].sum()
    full = jax.grad(last)(params, x)
    for a, b in zip(*map(jax.tree.leaves, (jax.grad(last)(params, x, truncation=12), full))):
        assert_close(a, b, 16, scale=float(jnp.abs(b).max()))
    # Within the last window it is the whole gradient of that window, started from where the sequence had come.
    _, states = network.trace(params, x)
    before = jax.tree.map(lambda a: a[8], states)
    window = jax.grad(lambda p: network.apply(p, x[8:], state=before)[-1].sum())(params)
    for a, b in zip(*map(jax.tree.leaves, (jax.grad(last)(params, x, truncation=4), window))):
        assert_close(a, b, 64, scale=float(jnp.abs(b).max()))
    norms = state_norms(state_gradients(network.trace, lambda o: o[-1], params, x, truncation=4))
    assert (norms[:8] == 0).all() and (norms[9:] > 0).all()
    assert_close(network.apply(params, x, truncation=4), network.apply(params, x), 0, scale=1.0)


def test_spectra_are_as_chosen(x64):
    draw = lambda spectrum, **choices: recurrent.draw_recurrent(spectrum, jax.random.key(0), 40, **choices)
    orthogonal = draw("orthogonal", radius=0.5)
    assert_close(orthogonal.T @ orthogonal, 0.25 * np.eye(40), 64, scale=1.0)
    assert_close(draw("identity", radius=0.9), 0.9 * np.eye(40), 1)
    values = np.linspace(-1, 0.5, 40)
    symmetric = draw("eigenvalues", eigenvalues=values, radius=2.0)
    assert_close(symmetric, symmetric.T, 64, scale=1.0)
    assert_close(np.linalg.eigvalsh(symmetric), 2 * values, 256, scale=1.0)
    other = draw("eigenvalues", eigenvalues=values, departure=1.0)
    # A non-normal matrix's eigenvalues move by far more than the rounding of its entries.
    np.testing.assert_allclose(np.sort(np.linalg.eigvals(other).real), values, atol=1e-6)
    assert np.linalg.norm(other) ** 2 == pytest.approx((values**2).sum() + 1.0)
    assert np.abs(np.linalg.eigvals(draw("gaussian"))).max() == pytest.approx(1.0, abs=0.2)


@pytest.mark.parametrize(
    ("name", "choices", "theory"),
    [
        ("rnn", {}, lambda: gates.rnn_theory(tanh, sw2=1.0, sx2=1.0)),
        ("lstm", {"forget_bias": 1.0}, lambda: gates.lstm_theory(sw2=1.0, sx2=1.0, forget_bias=1.0)),
        ("gru", {"update_bias": 1.0}, lambda: gates.gru_theory(sw2=1.0, sx2=1.0, update_bias=1.0)),
    ],
)
def test_gates_theory_holds_of_weights_drawn_at_each_step(x64, name, choices, theory):
    steps, width = 32, 64
    network = recurrent.recurrent_network(recurrent.make_cell(name, width, width, **choices), 1, untied=steps)

    def measure(key):
        of_params, of_inputs = jax.random.split(key)
        params, x = network.init(of_params), jax.random.normal(of_inputs, (steps, 8, width))
        _, states = network.trace(params, x)
        gradients = state_gradients(network.trace, lambda o: o[-1], params, x)
        return state_norms(gradients) ** 2, jnp.stack([jnp.mean(a[16:] ** 2) for a in jax.tree.leaves(states)])

    squares, moments = jax.jit(lambda keys: jax.lax.map(measure, keys))(jax.random.split(jax.random.key(0), 4))
    expected = theory()
    np.testing.assert_allclose(moments.mean(0), expected.moments, rtol=0.1)
    measured = np.sqrt(squares.mean(0))[::-1]
    last = np.zeros(len(expected.moments))
    last[0] = measured[0] ** 2
    # Four draws of width 64 stray by a quarter over 20 steps.
    np.testing.assert_allclose(measured[:21], gates.lag_norms(expected, last, 20), rtol=0.25)


def test_numbers_of_a_cell_are_lanes():
    def keep(bias):
        return recurrent.lstm_cell(2, 3, forget_bias=bias).init(jax.random.key(0)).biases

    assert jax.vmap(keep)(jnp.array([0.0, 5.0])).shape == (2, 12)
    bias = recurrent.chrono_bias(jax.random.key(0), 100, 50.0)
    assert (bias >= 0).all() and (bias <= np.log(49) + 1e-6).all()


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: recurrent.make_cell("elman", 1, 1), "name must be one of 'rnn', 'lstm', 'gru', got 'elman'"),
        (lambda: recurrent.rnn_cell(0, 3), "num_inputs must be at least 1"),
        (lambda: recurrent.lstm_cell(1, 0), "width must be at least 1"),
        (lambda: recurrent.rnn_cell(1, 3, spectrum="flat"), "spectrum must be one of 'gaussian'.* got 'flat'"),
        (lambda: recurrent.draw_recurrent("flat", jax.random.key(0), 3), "spectrum must be one of"),
        (lambda: recurrent.draw_recurrent("gaussian", jax.random.key(0), 3, radius=-1.0), "radius must be at least 0"),
        (lambda: recurrent.draw_recurrent("identity", jax.random.key(0), 2, eigenvalues=[1, 2]), "spectrum='eigen"),
        (lambda: recurrent.draw_recurrent("eigenvalues", jax.random.key(0), 2, eigenvalues=[1.0]), "shape"),
        (lambda: recurrent.chrono_bias(jax.random.key(0), 2, 2), "longest must be above 2"),
        (lambda: _network("rnn").apply(_network("rnn").init(jax.random.key(0)), jnp.ones((0, 3))), "one step"),
        (
            lambda: _network("rnn").apply(_network("rnn").init(jax.random.key(0)), jnp.ones((2, 3)), truncation=0),
            "truncation must be at least 1",
        ),
    ],
)
def test_wrong_choices_are_refused(make, message):
    with pytest.raises(ValueError, match=message):
        make()


def test_an_unknown_choice_is_named():
    with pytest.raises(TypeError, match="unknown choices forget"):
        recurrent.rnn_cell(1, 2, forget=1.0)
