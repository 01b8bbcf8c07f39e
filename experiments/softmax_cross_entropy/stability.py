"""Which way of writing the cross-entropy survives large logits?"""

import numpy as np
import pydantic

from jaxcalc import lab, style
from jaxcalc.lab import FACTS, Finding, Variable, below, close, equal, fact, holds, jax, jnp, less, pack_facts

kind = "host"

_DTYPES = ("bfloat16", "float32", "float64")
_OVERFLOWING = ("float16", "float32", "float64")
_SIDES = ("wrong", "right")
_FORMS = {
    "exponentials": "ratio of exponentials",
    "log of softmax": "log after softmax",
    "guarded": "log(softmax + 1e-15)",
    "fused": "from logits",
}


class Config(lab.Config):
    per_octave: int = pydantic.Field(16, ge=16, le=16)
    """gaps for each doubling; sixteenths are numbers of bfloat16"""


VARIABLES = {
    **FACTS,
    "dtype": Variable(("dtype",), "", "precision"),
    "side": Variable(("side",), "", "whether the prediction is confidently wrong or right"),
    "form": Variable(("form",), "", "how the loss is written"),
    "gap": Variable(("gap",), "", "larger logit less smaller"),
    "loss": Variable(("dtype", "side", "form", "gap"), "nat", "cross-entropy"),
    "slope": Variable(("dtype", "side", "form", "gap"), "", "its derivative by the larger logit, by reverse mode"),
    "loss_infinite": Variable(("dtype", "side", "form", "gap"), "", "whether the loss is infinite"),
    "slope_undefined": Variable(("dtype", "side", "form", "gap"), "", "whether the slope is NaN"),
    "true_loss": Variable(("side", "gap"), "nat", "cross-entropy in closed form, double precision"),
    "true_slope": Variable(("side", "gap"), "", "its derivative by the larger logit"),
}


def run(config, key):
    from jaxcalc.functions.activations import softmax
    from jaxcalc.functions.losses import cross_entropy_from_logits

    def exponentials(z, y):
        powers = jnp.exp(z)
        return -jnp.log((powers * y).sum(axis=-1) / powers.sum(axis=-1))

    forms = {
        "exponentials": exponentials,
        "log of softmax": lambda z, y: -jnp.log((softmax(z) * y).sum(axis=-1)),
        "guarded": lambda z, y: -jnp.log((softmax(z) * y).sum(axis=-1) + jnp.asarray(1e-15, z.dtype)),
        "fused": cross_entropy_from_logits,
    }
    gap = np.concatenate(
        [2.0**octave * (1 + np.arange(config.per_octave) / config.per_octave) for octave in range(-2, 10)]
    )
    shape = (len(_DTYPES), len(_SIDES), len(_FORMS), gap.size)
    loss, pull = np.empty(shape), np.empty(shape)
    for d, dtype in enumerate(_DTYPES):
        # Not jitted: fused, XLA would keep bfloat16 in single precision between the operations.
        z = jnp.stack([jnp.asarray(gap, dtype), jnp.zeros(gap.size, dtype)], axis=-1)
        # The label is the class of the smaller logit (wrong), or of the larger (right).
        z, y = jnp.broadcast_arrays(z, jnp.asarray([[[0.0, 1.0]], [[1.0, 0.0]]], dtype))
        for f, form in enumerate(_FORMS):
            fun = forms[form]
            values, back = jax.vjp(lambda z, fun=fun, y=y: fun(z, y), z)
            loss[d, :, f] = np.asarray(values, np.float64)
            pull[d, :, f] = np.asarray(back(jnp.ones_like(values))[0][..., 0], np.float64)
    true = np.stack([gap + np.log1p(np.exp(-gap)), np.log1p(np.exp(-gap))])
    steps = np.arange(0, 3000) / 4
    failing, overflow = [], []
    for dtype in ("float32", "float64"):
        z = jnp.stack([jnp.asarray(steps, dtype), jnp.zeros(steps.size, dtype)], axis=-1)
        values = forms["log of softmax"](z, jnp.asarray([0.0, 1.0], dtype))
        failing.append(steps[np.argmax(~np.isfinite(np.asarray(values)))])
    fine = np.arange(0, 720 * 500) / 500
    for dtype in _OVERFLOWING:
        x = jnp.asarray(fine, dtype)
        overflow.append(float(x[int(np.argmax(np.isinf(np.asarray(jnp.exp(x)))))]))
    large = jnp.array([1000.0, 0.0])
    undefined = jnp.isnan(jnp.exp(large) / jnp.exp(large).sum()).any()
    facts = {
        "naive-softmax-overflows": [*overflow, undefined, *softmax(large)],
        "log-of-softmax-unstable": failing,
        "ce-with-1e-15-guard": np.float32(1) + np.float32(1e-15),
    }
    return {
        "dtype": np.array(_DTYPES),
        "side": np.array(_SIDES),
        "form": np.array(list(_FORMS)),
        "gap": gap,
        "loss": loss,
        "slope": pull,
        "loss_infinite": np.isinf(loss).astype(float),
        "slope_undefined": np.isnan(pull).astype(float),
        "true_loss": true,
        "true_slope": np.stack([1 / (1 + np.exp(-gap)), -np.exp(-gap) / (1 + np.exp(-gap))]),
        **pack_facts(facts),
    }


def _overflows(dataset):
    overflow, undefined, shifted = np.split(fact(dataset, "naive-softmax-overflows"), [3, 4])
    return Finding(
        close(dict(zip(("f16", "f32", "f64"), overflow))) & holds(undefined) & equal(shifted, [1.0, 0.0]),
        measured=", ".join(f"{name} from {value:.2f}" for name, value in zip(_OVERFLOWING, overflow))
        + f"; softmax of (1000, 0) plain not a number, shifted {shifted.tolist()}",
        figure="losses",
    )


def _log_of_softmax(dataset):
    wrong = dataset.sel(dtype="float64", side="wrong", gap=800.0)
    plain, fused = (wrong.sel(form=form) for form in ("log of softmax", "fused"))
    failing = fact(dataset, "log-of-softmax-unstable")
    return Finding(
        holds([plain.loss_infinite, plain.slope_undefined])
        & close({"fused": fused.loss})
        & equal(fused["slope"], 1.0)
        & below(failing, 800.0),
        measured=f"at a gap of 800: loss {float(plain.loss):g} against {float(fused.loss):g}, slope "
        f"{float(plain['slope']):g} against {float(fused['slope']):g}; first infinite at a gap of "
        "{:.2f} (float32), {:.2f} (float64)".format(*failing),
        figure="losses",
    )


def _guard(dataset):
    mine = dataset.sel(dtype="float64", form="guarded")
    wrong = mine.sel(side="wrong")
    top, pull, far = wrong.loss.sel(gap=800.0), *wrong["slope"].sel(gap=[40.0, 800.0]).values
    perfect = float(mine.loss.sel(side="right", gap=800.0))
    single = float(fact(dataset, "ce-with-1e-15-guard")[0])
    return Finding(
        holds(1 - wrong.loss_infinite),
        limits=less(pull, 0.5) & ~close(top, 800.0, 1.0) & equal(single, 1.0),
        measured=f"loss {float(top):.4g} at a gap of 800; slope {pull:.2g} at a gap of 40 and {far:g} "
        f"at 800 where it is 1; a perfect prediction costs {perfect:.2g}; in single precision "
        f"1 + 1e-15 is {single:.17g}",
        figure="slope",
    )


def figures(dataset):
    failed, most, floor = 1e9, 1e4, 1e-18
    error = abs(dataset.loss / dataset.true_loss - 1)
    # A loss below is itself no normal number of the dtype.
    least = dataset.dtype.copy(data=[2.0**-126, 2.0**-126, 2.0**-1022])
    staggered = {
        form: {"label": label, "markevery": (offset, 4)} for offset, (form, label) in enumerate(_FORMS.items())
    }
    points = {"hue": "form", "looks": staggered, "linestyle": "", "markersize": 2.6}
    figure, panels = style.chart(
        error.clip(floor, most).where(np.isfinite(error), failed).where(dataset.true_loss >= least),
        "gap",
        col="dtype",
        row="side",
        log="xy",
        xlim=(0.25, 1000),
        ylim=(floor / 10, 30 * failed),
        ylabel="relative error of the loss",
        width="page",
        height=4.6,
        **points,
    )
    panels[0, 0].set_yticks(
        [floor, 1e-12, 1e-6, 1, most, failed],
        ["0", "$10^{-12}$", "$10^{-6}$", "1", r"$\geq 10^{4}$", "not finite"],
    )
    figure.set_label(
        "One loss written four ways, for a prediction that is confidently wrong or right. Only the one from logits "
        "keeps its digits at every gap where the loss is a number of the dtype. Below, a relative "
        "error of 1 is a loss of 0."
    )
    wrong = dataset.sel(dtype="float64", side="wrong")
    slope, panels = style.chart(
        wrong["slope"].fillna(1.3),
        "gap",
        theory=wrong.true_slope / (1 + 1e-15 * np.exp(np.minimum(dataset.gap, 600))),
        log="x",
        xlim=(1, 1000),
        ylim=(-0.05, 1.4),
        ylabel="gradient in the wrong logit",
        legend="lower left",
        width=4.4,
        height=2.9,
        **points,
    )
    panels[0, 0].set_yticks([0, 0.25, 0.5, 0.75, 1, 1.3], ["0", "0.25", "0.5", "0.75", "1", "NaN"])
    slope.set_label(
        "The pull on a confidently wrong logit, in double precision. It should be near 1: a guard inside the logarithm "
        r"takes it away from a gap of 34.5 on (dashed: $1 / (1 + 10^{-15} e^{\mathrm{gap}})$), the ratio of "
        "exponentials where the square of one overflows (355); forms without a guard end in NaN."
    )
    return {"losses": figure, "slope": slope}


claims = {
    "naive-softmax-overflows": _overflows,
    "log-of-softmax-unstable": _log_of_softmax,
    "ce-with-1e-15-guard": _guard,
}
