"""Gradients through time in infinitely wide gated networks at their start: second moments, one step after the other.

Inputs are independent normal in time. Weights count as drawn anew at each step, which is what infinite width makes of
them; so a state is uncorrelated with what a gate's matrix makes of it. With ``sw2`` the variance of a recurrent entry
times the width, ``sx2`` the variance of what the input adds before a gate, and biases that are plain numbers, the
entries before a gate are normal of variance ``sx2 + sw2 E[h^2]``. Entries of an LSTM's cell count as normal, which they
are not far from; GRU needs no such assumption beyond the first two moments.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp

from jaxcalc import checks
from jaxcalc.functions.activations import Activation, sigmoid, tanh
from jaxcalc.functions.mean_field import fixed_point, gaussian_mean, resolved

__all__ = ["GatePath", "GateTheory", "gate_path", "gru_theory", "lag_norms", "lstm_theory", "rnn_theory"]

_FAR = 1e15  # a variance at which slopes are what they are for ever larger ones
_STEPS = 400  # what a gate keeps is summed in closed form, so that only the hidden state's moment has to settle


class GateTheory(NamedTuple):
    """What mean-field theory says of a recurrent cell once its moments have settled."""

    moments: jax.Array
    """mean squares of the state's parts: of h, or of h and c; infinite where a plain cell's grows for ever"""
    transfer: jax.Array
    """``(parts, parts)``: mean squares of the gradient in the parts before a step, from those after it"""
    keep: jax.Array
    """``sqrt(E[f^2])``: the factor on a gradient's norm by the direct path alone; 0 for a plain cell"""


def rnn_theory(phi: Activation | str, *, sw2: jax.typing.ArrayLike, sx2: jax.typing.ArrayLike) -> GateTheory:
    """The plain cell ``h' = phi(x U + h W)``: ``chi = sw2 E[phi'^2]`` at the settled moment.

    Args:
      phi: the activation, or its name. sw2: the recurrent variance times the width. sx2: what the input adds.
    """
    phi = resolved("rnn_theory", phi)
    _variances("rnn_theory", sw2, sx2)
    sw2, sx2 = jnp.asarray(sw2, float), jnp.asarray(sx2, float)
    tiny = float(jnp.finfo(sw2.dtype).tiny)
    # From the state 0 the entries before the activation grow; without input or offset they stay 0.
    first = sx2 + sw2 * phi.value(jnp.zeros_like(sx2)) ** 2
    q = fixed_point(phi, jnp.maximum(sw2, tiny), sx2, start=jnp.where(first > 0, first, 1.0))
    grows = jnp.isinf(q)
    q = jnp.where(first > 0, jnp.where(grows, _FAR, q), 0.0)
    moment = jnp.where(grows, jnp.inf, gaussian_mean(lambda u: phi.value(u) ** 2, q))
    factor = sw2 * gaussian_mean(lambda u: phi.derivative(u) ** 2, q)
    return GateTheory(moment[None], factor[None, None], jnp.zeros_like(moment))


def lstm_theory(
    *,
    sw2: jax.typing.ArrayLike,
    sx2: jax.typing.ArrayLike,
    forget_bias: jax.typing.ArrayLike = 1.0,
    input_bias: jax.typing.ArrayLike = 0.0,
    output_bias: jax.typing.ArrayLike = 0.0,
) -> GateTheory:
    """``c' = f c + i g``, ``h' = o tanh(c')``, in the parts (h, c).

    With D the mean square of the gradient in c' by both ways on, D = D_c' + E[o^2] E[tanh'(c')^2] D_h',

        D_c = E[f^2] D,
        D_h = sw2 (D (E[f'^2] E[c^2] + E[i'^2] E[g^2] + E[i^2] E[g'^2]) + D_h' E[o'^2] E[tanh(c')^2]).

    Source: D. Gilboa et al., Dynamical isometry and a mean field theory of LSTMs and GRUs, 2019, for the like of it.
    """
    _variances("lstm_theory", sw2, sx2)
    kept, lost = _gate(forget_bias), _lost(forget_bias)
    entered, shown = _gate(input_bias), _gate(output_bias)

    def settle(_, moments):
        hidden, cell = moments
        q = sx2 + sw2 * hidden
        # The stationary cell: E[c^2] (1 - E[f^2]) = E[i^2] E[g^2], as E[g] is 0.
        cell = entered(q)[0] * gaussian_mean(lambda u: jnp.tanh(u) ** 2, q) / lost(q)
        return shown(q)[0] * gaussian_mean(lambda u: jnp.tanh(u) ** 2, cell), cell

    start = jnp.zeros_like(jnp.asarray(sw2, float) + sx2 + forget_bias + input_bias + output_bias)
    hidden, cell = jax.lax.fori_loop(0, _STEPS, settle, (start, start))
    q = sx2 + sw2 * hidden
    (f2, df2), (i2, di2), (o2, do2) = kept(q), entered(q), shown(q)
    g2, dg2 = _moments(tanh, q)
    squashed, slope = _moments(tanh, cell)
    into_cell = df2 * cell + di2 * g2 + i2 * dg2
    through = o2 * slope
    transfer = jnp.stack(
        [jnp.stack([sw2 * (through * into_cell + do2 * squashed), sw2 * into_cell]), jnp.stack([f2 * through, f2])]
    )
    return GateTheory(jnp.stack([hidden, cell]), transfer, jnp.sqrt(f2))


def gru_theory(
    *,
    sw2: jax.typing.ArrayLike,
    sx2: jax.typing.ArrayLike,
    update_bias: jax.typing.ArrayLike = 0.0,
    reset_bias: jax.typing.ArrayLike = 0.0,
) -> GateTheory:
    """``h' = u h + (1 - u) g``, ``g = tanh(x U + (r h) W)``.

        chi = E[u^2] + sw2 (E[u'^2] E[(h - g)^2] + E[(1 - u)^2] E[g'^2] (E[r^2] + sw2 E[r'^2] E[h^2])).

    Source: as for ``lstm_theory``.
    """
    _variances("gru_theory", sw2, sx2)
    kept, lost, reset = _gate(update_bias), _lost(update_bias), _gate(reset_bias)
    taken = _gate(-jnp.asarray(update_bias))  # 1 - sigmoid(z) = sigmoid(-z)

    def settle(_, hidden):
        q = sx2 + sw2 * hidden
        own = gaussian_mean(lambda u: jnp.tanh(u) ** 2, sx2 + sw2 * reset(q)[0] * hidden)
        return taken(q)[0] * own / lost(q)

    start = jnp.zeros_like(jnp.asarray(sw2, float) + sx2 + update_bias + reset_bias)
    hidden = jax.lax.fori_loop(0, _STEPS, settle, start)
    q = sx2 + sw2 * hidden
    (u2, du2), (r2, dr2), (t2, _) = kept(q), reset(q), taken(q)
    g2, dg2 = _moments(tanh, sx2 + sw2 * r2 * hidden)
    factor = u2 + sw2 * (du2 * (hidden + g2) + t2 * dg2 * (r2 + sw2 * dr2 * hidden))
    return GateTheory(hidden[None], factor[None, None], jnp.sqrt(u2))


def lag_norms(theory: GateTheory, last: jax.typing.ArrayLike, num_lags: int) -> jax.Array:
    """The gradient's norm in the state at each lag, root mean square over draws: shape ``(num_lags + 1,)``.

    Args:
      theory: of the cell.
      last: the squared norms of the gradient in the last state's parts.
      num_lags: steps back.
    """
    start = jnp.asarray(last, theory.transfer.dtype)
    back = lambda squares, _: (theory.transfer @ squares,) * 2
    squares = jnp.concatenate([start[None], jax.lax.scan(back, start, length=num_lags)[1]])
    return jnp.sqrt(squares.sum(1))


class GatePath(NamedTuple):
    """The product of one unit's gate over the steps."""

    log_mean: jax.Array
    """mean of its logarithm, what a typical unit keeps"""
    log_variance: jax.Array
    """variance of its logarithm over units and inputs"""
    mean_square: jax.Array
    """mean of its square over units: the squared norm kept along the path"""


def gate_path(
    bias: jax.typing.ArrayLike,
    variance: jax.typing.ArrayLike,
    num_steps: jax.typing.ArrayLike,
    *,
    constant_share: jax.typing.ArrayLike = 0.0,
) -> GatePath:
    """What ``PROD_t sigmoid(bias + s_t)`` comes to: the path along an LSTM's cell or a GRU's state.

    Args:
      bias: of the forget gate, or of a GRU's update gate that keeps.
      variance: of ``s_t``, the gate's entry without its bias.
      num_steps: factors in the product.
      constant_share: the part of the variance that a unit keeps over all steps, as constant inputs make it; the rest is
        drawn anew in each.

    Raises:
      ValueError: for a negative variance or a share out of range.
    """
    checks.number("gate_path", "variance", variance, least=0)
    checks.number("gate_path", "constant_share", constant_share, least=0, most=1)
    share, steps = jnp.asarray(constant_share, float), jnp.asarray(num_steps, float)
    anew = variance * (1 - share)

    def given(unit):
        """Mean and variance of the logarithm, and the mean square, of one factor of a unit."""
        logs = lambda s: -jax.nn.softplus(-(bias + unit + s))
        first = gaussian_mean(logs, anew)
        second = gaussian_mean(lambda s: logs(s) ** 2, anew)
        return first, second - first**2, gaussian_mean(lambda s: sigmoid.value(bias + unit + s) ** 2, anew)

    over_units = lambda pick: gaussian_mean(
        lambda units: jax.vmap(lambda unit: pick(*given(unit)))(units), variance * share
    )
    mean = over_units(lambda m, v, f: m)
    within = over_units(lambda m, v, f: v)
    across = over_units(lambda m, v, f: (m - mean) ** 2)
    return GatePath(steps * mean, steps * within + steps**2 * across, over_units(lambda m, v, f: f**steps))


def _gate(bias):
    """``q -> (E[s^2], E[s'^2])`` of a gate with that bias."""
    return lambda q: _moments(sigmoid, q, bias)


def _lost(bias):
    """``q -> 1 - E[s^2]`` of a gate, by ``1 - s^2 = t (2 - t)`` with ``t = 1 - s``: a gate that keeps is near 1."""
    closed = lambda u: sigmoid.value(-(u + bias))
    return lambda q: gaussian_mean(lambda u: closed(u) * (2 - closed(u)), q)


def _variances(who, sw2, sx2):
    checks.number(who, "sw2", sw2, least=0, finite=True, remedy="It is the recurrent weights' variance.")
    checks.number(who, "sx2", sx2, least=0, finite=True, remedy="It is the variance of what the input adds.")


def _moments(phi, q, bias=0.0):
    """Mean squares of an activation and of its slope under a normal of that mean and variance."""
    square = lambda fun: gaussian_mean(lambda u: fun(u + bias) ** 2, q)
    return square(phi.value), square(phi.derivative)
