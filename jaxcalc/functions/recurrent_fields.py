"""Gradients through time at initialisation: what one step of a recurrent network keeps, at infinite width.

The weights of all steps are one, but at infinite width mean-field theory may take them as drawn anew. A plain network's
step is a layer whose biases' variance includes the inputs': ``gradient_factor`` is its factor. Source: M. Chen,
J. Pennington, S. Schoenholz, Dynamical isometry and a mean field theory of RNNs, ICML 2018; D. Gilboa et al., Dynamical
isometry and a mean field theory of LSTMs and GRUs, 2019.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike

from jaxcalc import checks
from jaxcalc.functions.activations import sigmoid, tanh
from jaxcalc.functions.gaussian_means import gaussian_mean
from jaxcalc.functions.jacobian_spectra import gaussian_product_norm

__all__ = ["GatePath", "GatedStep", "gate_path", "gru_step", "lstm_step", "power_norm"]


class GatePath(NamedTuple):
    """The product of one unit's gate over the steps."""

    log_mean: jax.Array
    """mean of its logarithm, what a typical unit keeps"""
    log_variance: jax.Array
    """variance of its logarithm over units and inputs"""
    mean_square: jax.Array
    """mean of its square over units: the squared norm kept along the path"""


def gate_path(
    bias: ArrayLike, variance: ArrayLike, num_steps: ArrayLike, *, constant_share: ArrayLike = 0.0
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


class GatedStep(NamedTuple):
    """One step of a gated cell at its settled state."""

    factor: jax.Array
    """on the squared norm of a gradient that has gone through many steps"""
    path: jax.Array
    """the part of it along the state, the gate's mean square"""
    moment: jax.Array
    """mean square of the state (an LSTM's cell)"""
    transfer: jax.Array
    """of squared norms from after to before the step: ``(1, 1)``, or ``(2, 2)`` in the order output, cell"""


def _gate(bias: ArrayLike, variance: ArrayLike) -> tuple[jax.Array, jax.Array]:
    """Mean squares of a gate and of its slope."""
    square = gaussian_mean(lambda s: sigmoid.value(bias + s) ** 2, variance)
    return square, gaussian_mean(lambda s: sigmoid.derivative(bias + s) ** 2, variance)


_SETTLING = 400


def gru_step(
    update_bias: ArrayLike = 0.0, *, sw2: ArrayLike = 1.0, input_variance: ArrayLike = 1.0, reset_bias: ArrayLike = 0.0
) -> GatedStep:
    """A GRU's ``h <- z h + (1 - z) tanh(W (r h) + x)``, ``z`` and ``r`` sigmoids of ``W h + x + bias``.

    ``chi = E z^2 + sw2 E z'^2 (Q + E g^2) + E (1 - z)^2 E g'^2 sw2 (E r^2 + sw2 E r'^2 Q)``, ``g`` being the tanh.

    Args:
      update_bias: of the gate ``z`` that keeps the state.
      sw2: of all three recurrent matrices: the variance of an entry times the width.
      input_variance: of what the input adds to each gate's entry, drawn anew in each step.
      reset_bias: of the gate ``r``.

    Raises:
      ValueError: for a negative variance.
    """
    checks.number("gru_step", "sw2", sw2, least=0)
    checks.number("gru_step", "input_variance", input_variance, least=0)

    def parts(q):
        entry = sw2 * q + input_variance
        (kept, kept_slope), (reset, reset_slope) = _gate(update_bias, entry), _gate(reset_bias, entry)
        opened = _gate(-jnp.asarray(update_bias), entry)[0]
        candidate = sw2 * reset * q + input_variance
        square = gaussian_mean(lambda u: tanh.value(u) ** 2, candidate)
        slope = gaussian_mean(lambda u: tanh.derivative(u) ** 2, candidate)
        return kept, kept_slope, reset, reset_slope, opened, square, slope

    def settle(_, q):
        kept, *_, opened, square, _slope = parts(q)
        return opened * square / (1 - kept)

    q = jax.lax.fori_loop(0, _SETTLING, settle, jnp.ones((), jnp.result_type(float)))
    kept, kept_slope, reset, reset_slope, opened, square, slope = parts(q)
    chi = kept + sw2 * kept_slope * (q + square) + opened * slope * sw2 * (reset + sw2 * reset_slope * q)
    return GatedStep(chi, kept, q, chi[None, None])


def lstm_step(forget_bias: ArrayLike = 0.0, *, sw2: ArrayLike = 1.0, input_variance: ArrayLike = 1.0) -> GatedStep:
    """An LSTM's ``c <- f c + i g``, ``h = o tanh(c)``, with the cell's entries taken as normal.

    A gradient in ``(h, c)`` goes down by ``(a, b)``: first ``b <- b + E o^2 E tanh'(c)^2 a``; then the cell keeps
    ``E f^2 b``, and the output gets ``sw2 (E o'^2 E tanh(c)^2 a + (E f'^2 C + E i'^2 E g^2 + E i^2 E g'^2) b)``.

    Args:
      forget_bias: of the forget gate; the other gates have none.
      sw2: of all four recurrent matrices: the variance of an entry times the width.
      input_variance: of what the input adds to each gate's entry, drawn anew in each step.

    Raises:
      ValueError: for a negative variance.
    """
    checks.number("lstm_step", "sw2", sw2, least=0)
    checks.number("lstm_step", "input_variance", input_variance, least=0)

    def parts(c):
        # Gates have mean 1/2 where they have no bias; E h^2 follows from the cell's moment and the output gate.
        shown = gaussian_mean(lambda u: tanh.value(u) ** 2, c)
        output = _outputs(shown, sw2, input_variance)
        entry = sw2 * output + input_variance
        return entry, shown, _gate(forget_bias, entry), _gate(0.0, entry)

    def settle(_, c):
        entry, _shown, (forget, _slope), (opened, _other) = parts(c)
        return opened * gaussian_mean(lambda u: tanh.value(u) ** 2, entry) / (1 - forget)

    c = jax.lax.fori_loop(0, _SETTLING, settle, jnp.ones((), jnp.result_type(float)))
    entry, shown, (forget, forget_slope), (opened, slope) = parts(c)
    square = gaussian_mean(lambda u: tanh.value(u) ** 2, entry)
    steep = gaussian_mean(lambda u: tanh.derivative(u) ** 2, entry)
    through = opened * gaussian_mean(lambda u: tanh.derivative(u) ** 2, c)
    back = sw2 * (forget_slope * c + slope * square + opened * steep)
    transfer = jnp.array([[sw2 * slope * shown + back * through, back], [forget * through, forget]])
    trace, determinant = jnp.trace(transfer), transfer[0, 0] * transfer[1, 1] - transfer[0, 1] * transfer[1, 0]
    largest = 0.5 * (trace + jnp.sqrt(trace**2 - 4 * determinant))
    return GatedStep(largest, forget, c, transfer)


def _outputs(shown: jax.Array, sw2: ArrayLike, input_variance: ArrayLike) -> jax.Array:
    """``E h^2 = E o^2 E tanh(c)^2``, the output gate's entry depending on ``E h^2`` itself."""
    step = lambda _, q: shown * _gate(0.0, sw2 * q + input_variance)[0]
    return jax.lax.fori_loop(0, 30, step, 0.5 * shown)


def power_norm(radius: ArrayLike, lags: ArrayLike) -> jax.Array:
    """The largest singular value of powers of a Gaussian matrix of that spectral radius, as the width goes to infinity.

    ``radius^k sqrt((k + 1)^(k + 1) / k^k)``: no eigenvalue says so, the matrix is not normal. At a finite width it
    holds for lags well below it; from there on ``radius^k`` of the largest eigenvalue takes over.

    Args:
      radius: the spectral radius, the root of the entries' variance times the width.
      lags: the powers, 0 or above.

    Raises:
      ValueError: for a negative radius or lag.
    """
    checks.number("power_norm", "radius", radius, least=0)
    checks.number("power_norm", "lags", lags, least=0)
    lags = jnp.asarray(lags, float)
    grown = gaussian_product_norm(jnp.where(lags > 0, lags, 1.0))
    return jnp.asarray(radius, lags.dtype) ** lags * jnp.where(lags > 0, grown, 1.0)
