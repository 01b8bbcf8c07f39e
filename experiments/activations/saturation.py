"""Where does floating point leave the formulas of sigmoid and tanh?"""

import math
from collections.abc import Callable

import numpy as np
import pydantic

from jaxcalc import lab, style
from jaxcalc.lab import FACTS, Finding, Variable, above, below, close, equal, fact, holds, jax, jnp, less, pack_facts

kind = "host"

_DTYPES = ("bfloat16", "float32", "float64")


class Config(lab.Config):
    samples: int = pydantic.Field(1_000_000, ge=10_000)
    """standard normal inputs for the means"""


VARIABLES = {
    **FACTS,
    "dtype": Variable(("dtype",), "", "precision"),
    "z": Variable(("z",), "", "argument"),
    "sigmoid": Variable(("dtype", "z"), "", "sigmoid"),
    "sigmoid_of_negative": Variable(("dtype", "z"), "", "sigmoid of -z"),
    "product": Variable(("dtype", "z"), "", "slope as s(1 - s)"),
    "careful": Variable(("dtype", "z"), "", "slope as s(z) s(-z)"),
    "exactly_one_from": Variable(("dtype",), "", "least z with a sigmoid of exactly 1"),
    "t": Variable(("t",), "", "argument of tanh"),
    "ratio_error": Variable(("t",), "", "relative error of tanh as a ratio of exponentials"),
}


def _one_branch(x: float) -> float:
    """The sigmoid as the formula reads, a Python scalar."""
    return 1 / (1 + math.exp(-x))


def _two_branches(x: float) -> float:
    """The sigmoid by the sign of x: no exponential of a positive number."""
    return 1 / (1 + math.exp(-x)) if x >= 0 else math.exp(x) / (1 + math.exp(x))


def _ratio(x: float) -> float:
    """tanh as a ratio of exponentials, a Python scalar."""
    return (math.exp(x) - math.exp(-x)) / (math.exp(x) + math.exp(-x))


def _raises(fun: Callable[[float], float], x: float) -> bool:
    """Whether Python's floats overflow on the way."""
    try:
        fun(x)
    except OverflowError:
        return True
    return False


def run(config, key):
    from jaxcalc.functions.activations import activation

    sigmoid, tanh = activation("sigmoid"), activation("tanh")
    z = np.arange(0, 161) / 4  # quarters up to 40 are numbers of bfloat16 too
    fine = np.arange(0, 40 * 512 + 1) / 512
    rows = []
    for dtype in _DTYPES:
        at, points = jnp.asarray(z, dtype), jnp.asarray(fine, dtype)
        s, first = sigmoid(at), jnp.argmax(sigmoid(points) == 1.0)
        rows.append((s, sigmoid(-at), s * (1 - s), sigmoid.derivative(at), points[first]))
    names = ("sigmoid", "sigmoid_of_negative", "product", "careful", "exactly_one_from")
    x = jax.random.normal(key, (config.samples,))
    t = 10.0 ** np.linspace(-9, 1, 61)
    steps = -np.arange(0, 130.0, dtype=np.float32)
    with np.errstate(over="ignore"):
        single = np.float32(1) / (np.float32(1) + np.exp(-steps))
    raised = _raises(_one_branch, -710.0)
    facts = {
        "stable-sigmoid-two-branches": [raised, _two_branches(-710.0), steps[np.argmax(single == 0)]],
        "tanh-pure-python-ratio-of-exponentials": [_raises(_ratio, 710.0), math.tanh(710.0)],
        "tanh-zero-centred-sigmoid-not": [tanh(x).mean(), sigmoid(x).mean(), sigmoid(x).min()],
    }
    return {
        **pack_facts(facts),
        "dtype": np.array(_DTYPES),
        "z": z,
        **{name: np.stack([np.asarray(row, float) for row in column]) for name, column in zip(names, zip(*rows))},
        "t": t,
        "ratio_error": np.array([abs(_ratio(u) / math.tanh(u) - 1) for u in t]),
    }


def _open_interval(dataset):
    double, ones = dataset.sel(dtype="float64"), dataset.exactly_one_from.values
    told = (f"{at:.2f} ({name})" for at, name in zip(ones, dataset.dtype.values))
    reached = dataset["sigmoid"].max("z", skipna=False)
    return Finding(
        less(double["sigmoid"][double.z.values <= 36], 1.0) & less(0.0, double.sigmoid_of_negative),
        limits=equal(reached, 1.0) & close(ones, [5.56, 16.64, 36.74], 0.1),
        measured="exactly 1 from z = " + ", ".join(told),
        figure="saturation",
    )


def _two_branches_hold(dataset):
    raised, stable, single = fact(dataset, "stable-sigmoid-two-branches")
    return Finding(
        close(stable, math.exp(-710), 1e-9, relative=True) & holds(raised) & equal(single, -89.0),
        measured=f"at -710: {stable:.2g} by two branches, one branch "
        f"{'overflows' if raised else 'does not raise'}; one branch in single precision is 0 from {single:g}",
    )


def _ratio_of_exponentials(dataset):
    error, t = dataset.ratio_error.values, dataset.t.values
    raised, library = fact(dataset, "tanh-pure-python-ratio-of-exponentials")
    moderate, tiny = error[t >= 0.01], float(error[0])
    return Finding(
        below(moderate, 1e-12) & close({"value_at_710": library}, tolerance=0.0),
        limits=holds(raised) | above(tiny, 1e-12),
        measured=f"relative error {moderate.max():.1g} for x from 0.01 to 10 and {tiny:.2g} at "
        f"{t[0]:.0e}; at 710 {'OverflowError' if raised else 'no error'}",
        figure="ratio",
    )


def _centred(dataset):
    of_tanh, of_sigmoid, least = fact(dataset, "tanh-zero-centred-sigmoid-not")
    return Finding(
        close({"tanh_mean": of_tanh, "sigmoid_mean": of_sigmoid}) & less(0.0, least),
        measured=f"means {of_tanh:.4f} and {of_sigmoid:.4f}, least sigmoid {least:.3g}",
    )


def figures(dataset):
    true = dataset.careful.sel(dtype="float64")
    unit = np.finfo(float).eps / 2
    looks = dict(zip(_DTYPES, style.looks(_DTYPES)))
    figure, panels = style.chart(
        abs(dataset["product"] / true - 1),
        "z",
        hue="dtype",
        theory=unit * np.exp(dataset.z),
        log="y",
        xlabel="argument z",
        ylabel="relative error of s(1 - s)",
        xlim=(0, 40),
        ylim=(3e-18, 8),
        width=4.6,
        height=3.0,
    )
    for name, at in zip(_DTYPES, dataset.exactly_one_from.values):
        panels[0, 0].axvline(at, color=looks[name]["color"], linewidth=0.8, linestyle=":")
    figure.set_label(
        "The slope s(1 - s) loses its digits as 1 - s cancels, and is 0 from where the sigmoid is exactly 1 (dotted): "
        "the relative error is 1. Dashed: half an eps of double precision times e^z."
    )
    ratio, _ = style.chart(
        dataset.ratio_error,
        "t",
        theory=unit / dataset.t,
        log="xy",
        xlabel="x",
        ylabel="relative error",
        ylim=(5e-18, 1e-6),
        width=4.0,
        height=2.7,
    )
    ratio.set_label(
        "tanh as a ratio of exponentials loses relative accuracy as x becomes small, and overflows at 710. Dashed: "
        "eps / (2 x)."
    )
    return {"saturation": figure, "ratio": ratio}


claims = {
    "sigmoid-open-unit-interval": _open_interval,
    "stable-sigmoid-two-branches": _two_branches_hold,
    "tanh-pure-python-ratio-of-exponentials": _ratio_of_exponentials,
    "tanh-zero-centred-sigmoid-not": _centred,
}
