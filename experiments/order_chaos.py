"""Where do deep tanh networks pass from order to chaos, and how deep can a signal and a gradient be followed?

The phase diagram of weights and biases by mean-field theory, and wide networks along one line of it: the gradient's
factor a layer, the depth scale of a gradient and that of the correlation of two inputs, each beside theory.
"""

import numpy as np
import pydantic

from jaxcalc import lab, style
from jaxcalc.lab import Finding, Variable, below, jax, jnp

kind = "compiled"
dtype = "float64"
TABLE = (1.0, 1.3, 1.5, 1.7, 2.0, 2.5, 4.0)


class Config(lab.Config):
    """Random tanh networks along a line of one variance of biases."""

    weight_variances: tuple[float, ...] = pydantic.Field(default=TABLE, min_length=3)
    """variances of a weight times the width"""
    bias_variance: float = pydantic.Field(default=0.05, gt=0)
    """variance of the biases"""
    width: int = pydantic.Field(default=300, ge=16)
    """units in a layer"""
    depth: int = pydantic.Field(default=40, ge=12)
    """layers"""
    draws: int = pydantic.Field(default=16, ge=4)
    """networks, whose weights all variances share but for their scale"""
    apart: float = pydantic.Field(default=0.02, gt=0, lt=0.2)
    """what the correlation is moved by in order; in chaos by 0.6 of what lies between it and 1, at most 0.25"""
    points: int = pydantic.Field(default=18, ge=4)
    """weight variances of the phase diagram, and half as many of the biases"""

    @pydantic.model_validator(mode="after")
    def _above_zero(self):
        if min(self.weight_variances) <= 0:
            raise ValueError(f"weight_variances must be above 0, got {self.weight_variances}")
        return self


_LAYERS = ("sw2", "draw", "layer")
VARIABLES = {
    "sw2": Variable(("sw2",), "", "variance of a weight times the width"),
    "layer": Variable(("layer",), "", "layer"),
    "gradient": Variable(_LAYERS, "", "squared norm of the gradient over that at the last layer"),
    "departure": Variable(_LAYERS, "", "difference of two correlations that differed slightly at the start"),
    "moment": Variable(("sw2",), "", "settled variance q*, theory"),
    "chi": Variable(("sw2",), "", "gradient's squared factor a layer, theory"),
    "correlation": Variable(("sw2",), "", "settled correlation c*, theory"),
    "xi_moment": Variable(("sw2",), "layers", "depth scale of the variance, theory"),
    "xi_correlation": Variable(("sw2",), "layers", "depth scale of the correlation, theory"),
    "xi_gradient": Variable(("sw2",), "layers", "depth scale of the gradient, theory"),
    "plane_sw2": Variable(("plane_sw2",), "", "variance of a weight times the width"),
    "plane_sb2": Variable(("plane_sb2",), "", "variance of a bias"),
    "plane_xi": Variable(("plane_sb2", "plane_sw2"), "layers", "depth scale of the correlation, theory"),
    "line_sb2": Variable(("line_sb2",), "", "variance of a bias"),
    "critical": Variable(("line_sb2",), "", "critical weight variance, theory"),
}


def _theory(sw2, sb2):
    """Settled moment and correlation, and the scales, for many variances of the weights."""
    from jaxcalc.functions import correlations, mean_field

    def point(sw2):
        moment = mean_field.fixed_point("tanh", sw2, sb2)
        scales = correlations.depth_scales("tanh", sw2=sw2, sb2=sb2)
        c = correlations.correlation_fixed_point("tanh", moment, sw2=sw2, sb2=sb2)
        return moment, mean_field.gradient_factor("tanh", moment, sw2), c, *scales

    return jax.lax.map(point, jnp.asarray(sw2, float))


def shared(config):
    """Theory along the line and over the plane."""
    from jaxcalc.functions import edge_of_chaos

    names = ("moment", "chi", "correlation", "xi_moment", "xi_correlation", "xi_gradient")
    scales = dict(zip(names, jax.jit(_theory)(config.weight_variances, config.bias_variance), strict=True))
    plane_sw2 = np.linspace(0.6, 4.1, config.points)
    plane_sb2 = np.linspace(0.005, 0.3, config.points // 2)
    line_sb2 = np.linspace(0.0, 0.3, 61)
    plane = jax.jit(lambda sb2: jax.lax.map(lambda b: _theory(plane_sw2, b)[4], sb2))(plane_sb2)
    line = jax.jit(jax.vmap(lambda b: edge_of_chaos.critical_point("tanh", b).sw2))(line_sb2)
    names = {"sw2": np.array(config.weight_variances), "layer": np.arange(config.depth + 1)}
    return (
        names
        | scales
        | {"plane_sw2": plane_sw2, "plane_sb2": plane_sb2, "plane_xi": plane, "line_sb2": line_sb2, "critical": line}
    )


def run(config, key):
    """All networks, one after the other; the variances of a network side by side."""
    with jax.ensure_compile_time_eval():
        moment, _, correlation, *_ = (
            np.asarray(each) for each in _theory(config.weight_variances, config.bias_variance)
        )
    keys = jax.random.split(key, config.draws)
    gradient, departure = jax.lax.map(lambda k: _through(config, moment, correlation, k), keys)
    move = lambda by_layer: jnp.moveaxis(by_layer, 2, 0)
    return {"gradient": move(gradient), "departure": move(departure)}


def _through(config, moment, correlation, key):
    """One network at each variance of its weights: squared gradients and departures, ``(layer, sw2)``."""
    n, sw2, sb2 = config.width, np.asarray(config.weight_variances), config.bias_variance
    start_key, top_key, weights_key = jax.random.split(key, 3)
    keys = jax.random.split(weights_key, config.depth)

    def drawn(layer_key):
        # In single precision, which takes half the time of double.
        both = jax.random.normal(layer_key, (n, n + 1), jnp.float32).astype(float)
        return both[:, :n] / jnp.sqrt(n), jnp.sqrt(sb2) * both[:, n]

    # Two inputs on either side of the settled correlation with a third, or in order at 1 and below it: what the
    # width does to a correlation is the same for both, and goes with their difference.
    apart = np.where(correlation < 1, np.minimum(0.6 * (1 - correlation), 0.25), config.apart)
    low, high = correlation - apart, np.minimum(correlation + apart, 1.0)
    basis = jnp.linalg.qr(jax.random.normal(start_key, (n, 2), float))[0] * jnp.sqrt(n)
    beside = lambda c: c[:, None] * basis[:, 0] + np.sqrt(1 - c**2)[:, None] * basis[:, 1]
    u = jnp.stack([beside(np.ones_like(low)), beside(low), beside(high)]) * jnp.sqrt(moment)[:, None]

    def layer(u, layer_key):
        matrix, bias = drawn(layer_key)
        return jnp.sqrt(sw2)[:, None] * jnp.tanh(u) @ matrix.T + bias, u

    last, before = jax.lax.scan(layer, u, keys)
    us = jnp.concatenate([before, last[None]])
    unit = us / jnp.linalg.norm(us, axis=-1, keepdims=True)
    cosines = jnp.einsum("lsn,lksn->lks", unit[:, 0], unit[:, 1:])

    def down(g, inputs):
        u, layer_key = inputs
        g = jnp.sqrt(sw2)[:, None] * (g @ drawn(layer_key)[0]) * (1 - jnp.tanh(u[0]) ** 2)
        return g, jnp.sum(g**2, -1)

    top = jax.random.normal(top_key, (n,), float)
    top = jnp.broadcast_to(top / jnp.linalg.norm(top), (len(sw2), n))
    _, squares = jax.lax.scan(down, top, (before, keys), reverse=True)
    return jnp.concatenate([squares, jnp.ones((1, len(sw2)))]), cosines[:, 1] - cosines[:, 0]


_SKIPPED = 8  # layers at the top: until a gradient is spread as the network spreads it


def _chi(dataset):
    """The measured factor a layer of the squared gradient, the mean over draws, and its standard error."""
    last = dataset.sizes["layer"] - 1 - _SKIPPED
    ratio = dataset.gradient.sel(layer=0) / dataset.gradient.sel(layer=last)
    count = ratio.sizes["draw"]
    mean = ratio.mean("draw", skipna=False)
    chi = mean ** (1 / last)
    return chi, chi * ratio.std("draw", ddof=1) / np.sqrt(count) / mean / last


def _xi(dataset):
    """The fitted depth scale of the correlation and its standard error, by leaving out one draw at a time."""
    fits = []
    departure, expected = dataset.departure, dataset.xi_correlation
    draws = departure.sizes["draw"]
    for left_out in (None, *range(draws)):
        kept = departure if left_out is None else departure.isel(draw=np.delete(np.arange(draws), left_out))
        mean = kept.mean("draw", skipna=False)
        # Layers over which it falls by exp(-1.5); the width's noise is seen behind.
        rates = []
        for sw2 in dataset.sw2.values:
            reach = int(min(departure.sizes["layer"] - 1, np.ceil(1.5 * float(expected.sel(sw2=sw2)))))
            layers = np.arange(1, max(reach, 5) + 1)
            fallen = mean.sel(sw2=sw2, layer=layers).values
            # Noise that turns the sign has no logarithm: such a scale is not a number.
            logs = np.log(np.where(fallen > 0, fallen, np.nan))
            rates.append(-np.polyfit(layers, logs, 1)[0] if np.isfinite(logs).all() else np.nan)
        fits.append(1 / np.array(rates))
    whole, parts = fits[0], np.array(fits[1:])
    return whole, np.sqrt((draws - 1) / draws * np.sum((parts - parts.mean(0)) ** 2, 0))


def figures(dataset):
    """The phase diagram; the factor and the scales along the line, measured beside theory."""
    return {"phase_diagram": _draw_plane(dataset), "factor_and_scales": _draw_line(dataset)}


def _draw_plane(dataset):
    from matplotlib.colors import LogNorm

    figure, ax = style.subplots(height=2.8)
    fine_sw2, fine_sb2, scale = _interpolated(dataset)
    mesh = ax.contourf(
        fine_sw2,
        fine_sb2,
        np.clip(scale, 1, 100),
        levels=np.geomspace(1, 100, 13),
        norm=LogNorm(1, 100),
        cmap="cividis",
    )
    ax.plot(dataset.critical, dataset.line_sb2, color="white", linewidth=1.6)
    ax.annotate("order", (0.12, 0.85), xycoords="axes fraction", color="white")
    ax.annotate("chaos", (0.68, 0.12), xycoords="axes fraction", color="white")
    ax.plot(
        dataset.sw2,
        np.full(dataset.sizes["sw2"], lab.params(dataset)["bias_variance"]),
        "o",
        color="white",
        markersize=4,
    )
    ax.set(ylim=(float(dataset.plane_sb2[0]), float(dataset.plane_sb2[-1])))
    ax.set(xlabel=r"variance of weights $\times$ width, $\sigma_w^2$", ylabel=r"variance of biases, $\sigma_b^2$")
    bar = figure.colorbar(mesh, ax=ax, ticks=[1, 3, 10, 30, 100], format="%g")
    bar.set_label(r"depth scale $\xi_c$ in layers")
    figure.set_label(
        "The depth scale of two inputs' correlation in tanh networks of infinite width; white: the critical line, and "
        "the networks that were measured."
    )
    return figure


def _interpolated(dataset):
    """The plane's depth scale on a finer grid: its inverse, negative in chaos, goes smoothly through 0."""
    from scipy.interpolate import RectBivariateSpline

    sw2, sb2 = dataset.plane_sw2.values, dataset.plane_sb2.values
    critical = np.interp(sb2, dataset.line_sb2, dataset.critical)
    side = np.where(sw2 < critical[:, None], 1.0, -1.0)
    fine_sw2, fine_sb2 = np.linspace(sw2[0], sw2[-1], 200), np.linspace(sb2[0], sb2[-1], 100)
    degree = min(3, len(sb2) - 1)
    rate = RectBivariateSpline(sb2, sw2, side / dataset.plane_xi.values, kx=degree, ky=degree)(fine_sb2, fine_sw2)
    return fine_sw2, fine_sb2, 1 / np.maximum(np.abs(rate), 1e-3)


def _draw_line(dataset):
    figure, (left, right) = style.subplots(1, 2, width="page", height=2.7)
    chi, error = _chi(dataset)
    xi, xi_error = _xi(dataset)
    look = style.method("tanh", linestyle="", markersize=4.5)
    left.axhline(1.0, **style.THEORY)
    left.errorbar(dataset.sw2, chi / dataset.chi, error / dataset.chi, capsize=2, **{**look, "label": None})
    left.set(xlabel=r"$\sigma_w^2$", ylabel=r"$\chi_1$, measured over theory")
    right.errorbar(dataset.sw2, xi, xi_error, capsize=2, **{**look, "label": r"correlation, $\xi_c$"})
    log_error = error / chi
    measured = 1 / np.abs(np.log(chi))
    other = {**style.method("relu", linestyle="", markersize=4.5), "label": r"gradient, $\xi_\nabla$"}
    right.errorbar(dataset.sw2, measured, measured**2 * log_error, capsize=2, **other)
    critical = np.interp(lab.params(dataset)["bias_variance"], dataset.line_sb2, dataset.critical)
    right.plot([], [], **style.THEORY, label="theory")
    # Scales have a pole at the critical point, which no line may cross.
    for side in (dataset.isel(sw2=dataset.sw2 < critical), dataset.isel(sw2=dataset.sw2 > critical)):
        right.plot(side.sw2, side.xi_correlation, **style.THEORY)
        right.plot(side.sw2, side.xi_gradient, **style.THEORY)
    right.set(xlabel=r"$\sigma_w^2$", ylabel="layers", yscale="log", ylim=(1.5, 400))
    right.legend()
    figure.set_label(
        "The gradient's factor a layer (a) and depth scales (b) with standard errors over networks. Theory is that of "
        "infinite width, computed at the variances shown; scales have a pole at the critical point."
    )
    return figure


def tables(dataset):
    """Theory and measurement along the line."""
    (chi, error), (xi, xi_error), rows = _chi(dataset), _xi(dataset), []
    for k, sw2 in enumerate(dataset.sw2.values):
        at = dataset.isel(sw2=k)
        rows.append(
            {
                "sw2": f"{sw2:g}",
                "q*": f"{float(at.moment):.5f}",
                "chi1": f"{float(at.chi):.6f}",
                "measured chi1": f"{float(chi[k]):.4f} ± {float(error[k]):.4f}",
                "xi_q": f"{float(at.xi_moment):.3f}",
                "c*": f"{float(at.correlation):.5f}",
                "xi_c": f"{float(at.xi_correlation):.3f}",
                "measured xi_c": f"{xi[k]:.2f} ± {xi_error[k]:.2f}",
                "xi_grad": f"{float(at.xi_gradient):.3f}",
            }
        )
    return {"Tanh networks along the line": rows}


def _judge_factor(dataset):
    """Within three standard errors, or the correction of order 1/width where these are smaller."""
    chi, error = _chi(dataset)
    gaps = np.abs(chi - dataset.chi) / np.sqrt(error**2 + (dataset.chi / lab.params(dataset)["width"]) ** 2)
    return Finding(
        below(gaps, 3.0), measured=f"{float(gaps.max()):.2f} standard errors off at most", figure="factor_and_scales"
    )


def _judge_scales(dataset):
    """Within three standard errors, none of them large, of all scales that the depth lets be seen."""
    xi, error = _xi(dataset)
    expected = dataset.xi_correlation.values
    seen = expected < dataset.sizes["layer"]
    gaps = (np.abs(xi - expected) / np.hypot(error, 0.05 * expected))[seen]
    share = (error / expected)[seen]
    return Finding(
        below(gaps, 3.0) & below(share, 0.35),
        measured=f"{gaps.max():.2f} standard errors off at most, these being up to {100 * share.max():.0f} %",
        figure="factor_and_scales",
    )


claims = {"measured-gradient-factor-is-chi1": _judge_factor, "correlation-depth-scale": _judge_scales}
