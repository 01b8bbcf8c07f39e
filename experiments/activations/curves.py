"""What are the activations, and are their slopes what the formulas say?"""

import numpy as np
import pydantic

from jaxcalc import lab, style
from jaxcalc.lab import Finding, Variable, below, cited, close, equal, jax, jnp, less

kind = "host"

_EPS = float(np.finfo(float).eps)
_BY_AD = "slope, by AD"


class Config(lab.Config):
    reach: int = pydantic.Field(30, ge=20)
    """the grid goes from -reach to reach"""
    density: int = pydantic.Field(40, ge=4)
    """points for each unit of length"""


VARIABLES = {
    "x": Variable(("x",), "", "argument"),
    "activation": Variable(("activation",), "", "name of the activation"),
    "value": Variable(("activation", "x"), "", "value"),
    "derivative": Variable(("activation", "x"), "", "slope in closed form"),
    "by_ad": Variable(("activation", "x"), "", "slope by reverse mode"),
    "by_exponentials": Variable(("x",), "", "e^-x / (1 + e^-x)^2"),
    "framework_gelu": Variable(("x",), "", "jax.nn.gelu with its defaults"),
    "alpha": Variable(("alpha",), "", "parameter of ELU"),
    "elu": Variable(("alpha", "x"), "", "ELU"),
    "elu_by_ad": Variable(("alpha", "x"), "", "its slope by reverse mode"),
    "leak": Variable(("leak",), "", "slope of leaky ReLU below 0"),
    "leaky": Variable(("leak", "x"), "", "leaky ReLU"),
    "leaky_by_ad": Variable(("leak", "x"), "", "its slope by reverse mode"),
    "leaky_by_maximum": Variable(("leak", "x"), "", "max(leak x, x)"),
}


def run(config, key):
    from jaxcalc.functions.activations import ACTIVATIONS, activation

    # Ratios of whole numbers, so that 0 and all whole numbers are on the grid exactly.
    x = jnp.arange(-config.reach * config.density, config.reach * config.density + 1) / config.density
    slope = lambda fun: jax.vmap(jax.grad(fun))(x)
    elu, leaky = activation("elu"), activation("leaky_relu")
    alphas, leaks = np.array([0.5, 1.0, 2.0]), np.array([0.01, 0.5, 2.0])
    return {
        "x": x,
        "activation": np.array(list(ACTIVATIONS)),
        "value": np.stack([phi(x) for phi in ACTIVATIONS.values()]),
        "derivative": np.stack([phi.derivative(x) for phi in ACTIVATIONS.values()]),
        "by_ad": np.stack([slope(phi) for phi in ACTIVATIONS.values()]),
        "by_exponentials": jnp.exp(-x) / (1 + jnp.exp(-x)) ** 2,
        "framework_gelu": jax.nn.gelu(x),
        "alpha": alphas,
        "elu": np.stack([elu(x, alpha=a) for a in alphas]),
        "elu_by_ad": np.stack([slope(lambda t, a=a: elu(t, alpha=a)) for a in alphas]),
        "leak": leaks,
        "leaky": np.stack([leaky(x, slope=a) for a in leaks]),
        "leaky_by_ad": np.stack([slope(lambda t, a=a: leaky(t, slope=a)) for a in leaks]),
        "leaky_by_maximum": np.stack([jnp.maximum(a * x, x) for a in leaks]),
    }


def _of(dataset, name):
    """Value and slope of an activation."""
    mine = dataset.sel(activation=name)
    return mine.value, mine.by_ad


def _table(name, places):
    """Values and slopes at some places are those that the ledger prints."""

    def judge(dataset):
        value, slope = (each.sel(x=places).values for each in _of(dataset, name))
        told = [[float(f"{v:.4f}") for v in row] for row in (value, slope)]
        return Finding(close({"value": value, "slope": slope}), measured=told)

    return judge


def _sigmoid_slope(dataset):
    s, slope = _of(dataset, "sigmoid")
    gaps = [abs(slope - s * (1 - s)).values, abs(slope - dataset.by_exponentials).values]
    told = f"largest differences {gaps[0].max():.2g} and {gaps[1].max():.2g}"
    return Finding(below(gaps), measured=told, figure="activations")


def _quarter(dataset):
    slope = _of(dataset, "sigmoid")[1]
    peak, elsewhere = float(slope.sel(x=0)), slope.values[slope.x.values != 0]
    told = f"{peak:.16g} at 0, at most {elsewhere.max():.6g} elsewhere on the grid"
    return Finding(close(peak) & less(elsewhere, peak), measured=told, figure="activations")


def _leaky(dataset):
    x, leak = dataset.x.values, dataset.leak.values[:, None]
    gentle = dataset.leak.values < 1
    by_maximum = abs(dataset.leaky - dataset.leaky_by_maximum).values
    slopes = abs(dataset.leaky_by_ad.values - np.where(x < 0, leak, 1.0))
    steeper = by_maximum[~gentle][:, abs(x) <= 3].max()
    both = [by_maximum[gentle], slopes[gentle][:, x != 0]]
    worst = max(each.max() for each in both)
    told = f"largest difference {worst:g} for slopes below 1; at slope 2 up to {steeper:g} on [-3, 3]"
    return Finding(below(both), measured=told)


def _elu(dataset):
    expected = (dataset.elu + dataset.alpha).where(dataset.x < 0, 1.0)
    gap = abs(dataset.elu_by_ad - expected).isel(x=dataset.x.values != 0)
    return Finding(below(gap), figure="activations")


def _gelu(dataset):
    near = dataset.isel(x=abs(dataset.x.values) <= 6)
    (exact, slope), (fit, fitted) = _of(near, "gelu"), _of(near, "gelu_tanh")
    gap = abs(exact - fit).values
    farthest = abs(float(near.x[int(np.argmax(gap))]))
    framework, slope_gap = abs(near.framework_gelu - fit).values, abs(slope - fitted).values
    return Finding(
        below(gap) & below(framework, 16 * _EPS),
        # The values part by more than rounding, and the slopes by more than the values may.
        limits=~below(gap, 1e-6) & ~below(slope_gap),
        measured=f"values part by up to {gap.max():.3g} at |x| = {farthest:.2f}, slopes by "
        f"{slope_gap.max():.2g}; the framework's default is the tanh form to {framework.max():.1g}",
        figure="gelu",
    )


def _tanh_slope(dataset):
    t, slope = _of(dataset, "tanh")
    gap = abs(slope - (1 - t**2)).values[abs(dataset.x.values) <= 5]
    return Finding(
        below(gap) & equal(slope.sel(x=0), 1.0) & below(slope, 1.0),
        measured=f"largest difference {gap.max():.2g}, largest slope {slope.values.max():g}",
        figure="activations",
    )


def _scaled_sigmoid(dataset):
    half = dataset.x.values[abs(dataset.x.values) <= 10]
    s, t = _of(dataset, "sigmoid")[0], _of(dataset, "tanh")[0]
    return below(abs(t.sel(x=half).values - (2 * s.sel(x=2 * half).values - 1)))


def figures(dataset):
    near, wide = (dataset.isel(x=abs(dataset.x.values) <= reach) for reach in (4, 6))
    looks = {"value": {"color": style.COLORS["blue"]}, _BY_AD: {"color": style.COLORS["vermilion"]}}
    figure, panels = style.chart(
        {"value": near.value, _BY_AD: near.by_ad},
        "x",
        col="activation",
        wrap=4,
        theory=near.derivative,
        looks=looks,
        xlabel="x",
        ylabel="",
        xlim=(-4, 4),
        sharey=False,
        width="page",
        height=5.2,
        marker="",
        zorder=1,
    )
    for panel in panels.flat[dataset.sizes["activation"] - 4 :]:  # the lowest of each column
        panel.tick_params(labelbottom=True)
    for name, panel in zip(dataset.activation.values, panels.flat):
        if name in ("linear", "quadratic"):
            panel.set_ylim(-4.2, 4.2)
    figure.set_label(
        "Activations and their slopes; dashed: the slopes in closed form. At the kinks of ReLU and leaky ReLU "
        "automatic differentiation takes a side: 0 and 1."
    )
    exact, fitted = (wide.sel(activation=name) for name in ("gelu", "gelu_tanh"))
    gelu, _ = style.chart(
        {"value": 1e4 * (fitted.value - exact.value), _BY_AD: 1e4 * (fitted.by_ad - exact.by_ad)},
        "x",
        looks=looks,
        xlabel="x",
        ylabel="tanh form less exact form ($10^{-4}$)",
        width=4.4,
        height=2.7,
    )
    gelu.set_label(
        "What most code calls GELU is a fit: its value and slope less those of x times the normal distribution."
    )
    return {"activations": figure, "gelu": gelu}


claims = {
    "sigmoid-at-zero": lambda data: Finding(equal(_of(data, "sigmoid")[0].sel(x=0)), figure="activations"),
    "sigmoid-derivative-identity": _sigmoid_slope,
    "sigmoid-derivative-max-quarter": _quarter,
    "sigmoid-table": _table("sigmoid", [-6, -3, 0, 3, 6]),
    "sigmoid-slope-at-5": lambda data: close(_of(data, "sigmoid")[1].sel(x=[-5, 5])),
    "leaky-relu-formula": _leaky,
    "elu-derivative": _elu,
    "gelu-definition-vs-code": _gelu,
    "relu-values": lambda data: close(_of(data, "relu")[0].sel(x=[-2, -1, 0, 1, 2])),
    "tanh-derivative-identity": _tanh_slope,
    "tanh-is-scaled-sigmoid": _scaled_sigmoid,
    "tanh-table": _table("tanh", [-2, -1, 0, 1, 2]),
    "tanh-slope-at-3": lambda data: close(_of(data, "tanh")[1].sel(x=[0, 3])),
    "relu-gelu-popularity": cited,
}
