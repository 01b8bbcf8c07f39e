"""Softmax and cross-entropy: is the gradient p - y, and which way of writing the loss survives large logits?

Identities on random problems, the Jacobian and the printed example (``identities``); the same loss written four ways
at growing gaps between logits, in three precisions (``stability``).
"""

from typing import TYPE_CHECKING, Any

import numpy as np
import pydantic

from jaxcalc.lab import Config, Finding, Part, Variable, above, below, close, equal, holds, less

if TYPE_CHECKING:
    import xarray
    from matplotlib.figure import Figure

_EPS = float(np.finfo(float).eps)

# -- identities --------------------------------------------------------------------------------------------------------


class Identities(Config):
    problems: int = pydantic.Field(2000, ge=10)
    """random logits and targets"""
    classes: int = pydantic.Field(10, ge=2)
    """classes of each"""
    size: int = pydantic.Field(7, ge=2)
    """logits of the Jacobian"""


def run_identities(config: Identities, key: Any) -> dict[str, Any]:
    import jax
    import jax.numpy as jnp

    from jaxcalc.functions import distributions
    from jaxcalc.functions.activations import logsumexp, softmax, softmax_jacobian
    from jaxcalc.functions.losses import cross_entropy_from_logits as loss
    from jaxcalc.programs import walk

    keys = jax.random.split(key, 5)
    z = 2 * jax.random.normal(keys[0], (config.problems, config.classes))
    p = softmax(z)
    label = jax.random.randint(keys[1], (config.problems,), 0, config.classes)
    hot = jax.nn.one_hot(label, config.classes, dtype=z.dtype)
    soft = softmax(jax.random.normal(keys[2], z.shape))
    by_ad = jax.grad(lambda z, y: loss(z, y).sum())
    targets = {"one-hot": hot, "soft": soft, "summing to 0.6": 0.6 * soft}

    wide = 5 * jax.random.normal(keys[3], z.shape)
    naive = jnp.log(jnp.sum(jnp.exp(wide), axis=-1))
    shifted = wide - wide.max(axis=-1, keepdims=True)
    logits = jax.random.normal(keys[4], (config.size,))

    # Generalised linear models by their natural parameter: minus the log-likelihood's gradient there.
    eta = jax.random.normal(keys[1], (config.problems,))
    count, real = jnp.round(jnp.exp(eta + 1)), jax.random.normal(keys[2], eta.shape)
    minus = lambda family, y: jax.grad(lambda eta: -family(eta).log_density(y).sum())(eta)
    links = {
        "Poisson, exp": (minus(lambda eta: distributions.poisson(jnp.exp(eta)), count), jnp.exp(eta) - count),
        "Gaussian, identity": (minus(distributions.normal, real), eta - real),
    }
    example, first = jnp.array([2.0, 1.0, 0.1]), jnp.array([1.0, 0.0, 0.0])
    routines = {"softmax": jax.nn.softmax, "log_softmax": jax.nn.log_softmax, "logsumexp": jax.nn.logsumexp}
    maxima = lambda fun: sum(e.name == "reduce_max" for e in walk.trace(fun, example).everything())
    return {
        "target": np.array(list(targets)),
        "gradient": np.stack([by_ad(z, y) for y in targets.values()]),
        "less_target": np.stack([p - y for y in targets.values()]),
        "scaled_less_target": np.stack([y.sum(axis=-1, keepdims=True) * p - y for y in targets.values()]),
        "label": label,
        "probability": p,
        "gap_underflow": softmax(jnp.array([800.0, 0.0])),
        "naive_logsumexp": naive,
        "logsumexp": logsumexp(wide),
        "largest_exponent": shifted.max(axis=-1),
        "logsumexp_edges": jnp.stack([logsumexp(jnp.array([1e4, 1e4 - 1])), logsumexp(jnp.full(2, -jnp.inf))]),
        "logit": logits,
        "jacobian": softmax_jacobian(logits),
        "jacobian_by_ad": jax.jacrev(jax.nn.softmax)(logits),
        "logit_probability": softmax(logits),
        "link": np.array(list(links)),
        "link_gradient": np.stack([gradient for gradient, _ in links.values()]),
        "link_residual": np.stack([residual for _, residual in links.values()]),
        "example_probability": softmax(example),
        "example_gradient": jax.grad(lambda z: loss(z, first))(example),
        "routine": np.array(list(routines)),
        "maxima": np.array([maxima(fun) for fun in routines.values()]),
    }


def _is_distribution(dataset: "xarray.Dataset") -> Finding:
    p, two = dataset.probability.values, dataset.gap_underflow.values
    sums = abs(np.append(p.sum(axis=-1), two.sum()) - 1)
    return Finding(
        below(sums) & less(0.0, p),
        measured=f"sums off by {sums.max():.2g}, least entry {p.min():.2g}; at a gap of 800 the smaller is {two[1]:g}",
    )


def _jacobian(dataset: "xarray.Dataset") -> Finding:
    jacobian, q = dataset.jacobian.values, dataset.logit_probability.values
    from_ad = abs(jacobian - dataset.jacobian_by_ad.values)
    by_rule = abs(jacobian - (np.diag(q) - np.outer(q, q)))
    least = abs(np.linalg.eigvalsh(jacobian)).min()
    return Finding(
        below([from_ad, by_rule]) & less(0.0, abs(jacobian)),
        measured=f"differences {from_ad.max():.2g} (AD) and {by_rule.max():.2g} (formula), "
        f"{np.count_nonzero(jacobian)} of {jacobian.size} entries not 0; smallest eigenvalue {least:.1g}",
    )


def _example(dataset: "xarray.Dataset") -> Finding:
    p, gradient = dataset.example_probability.values, dataset.example_gradient.values
    return Finding(
        close({"p": p, "gradient": gradient}) & close({"sum": p.sum()}, tolerance=4 * _EPS),
        measured=[[float(f"{v:.4f}") for v in row] for row in (p, gradient)],
    )


def _logsumexp(dataset: "xarray.Dataset") -> Finding:
    gap = abs(dataset.naive_logsumexp.values - dataset["logsumexp"].values)
    large, masked = dataset.logsumexp_edges.values
    return Finding(
        below(gap) & equal(dataset.largest_exponent, 0.0) & close(large, 1e4 + np.log1p(np.exp(-1.0)), 4e4 * _EPS),
        measured=f"difference {gap.max():.2g}; at 1e4 {large:.6f}; all masked {masked}",
    )


def _off(dataset: "xarray.Dataset", target: str, variable: str = "less_target") -> np.ndarray:
    """How far the gradient is from p - y."""
    return abs(dataset.gradient - dataset[variable]).sel(target=target).values


def _less_target(dataset: "xarray.Dataset") -> Finding:
    hot, soft, short = (_off(dataset, t) for t in ("one-hot", "soft", "summing to 0.6"))
    return Finding(
        below([hot, soft]),
        measured=f"largest difference {hot.max():.2g} one-hot, {soft.max():.2g} soft; a target "
        f"summing to 0.6 breaks it by {short.max():.3g}",
    )


def _componentwise(dataset: "xarray.Dataset") -> Finding:
    right = np.eye(dataset.sizes["class"])[dataset.label.values.astype(int)] == 1
    gradient, p = dataset.gradient.sel(target="one-hot").values, dataset.probability.values
    return Finding(below(abs(gradient - np.where(right, p - 1, p))))


def _links(dataset: "xarray.Dataset") -> Finding:
    softmax, links = _off(dataset, "one-hot"), abs(dataset.link_gradient - dataset.link_residual)
    worst = {"softmax": softmax.max()}
    worst |= {str(name): links.sel(link=name).values.max() for name in dataset.link.values}
    return Finding(
        below(softmax),
        limits=below(links),
        measured="prediction less target is the gradient of "
        + ", ".join(f"{name} (to {value:.1g})" for name, value in worst.items()),
    )


def _maxima(dataset: "xarray.Dataset") -> Finding:
    told = ", ".join(f"{n}: {m}" for n, m in zip(dataset.routine.values, dataset.maxima.values))
    return Finding(above(dataset.maxima, 1), measured=f"{told} (maxima in JAX's programs)")


def figures_of_identities(dataset: "xarray.Dataset") -> dict[str, "Figure"]:
    from jaxcalc import style

    figure, (bars, axis) = style.subplots(
        1, 2, width=5.8, height=2.9, gridspec_kw={"width_ratios": [1, 1.5]}, sharey=True
    )
    p, jacobian = dataset.logit_probability.values, dataset.jacobian.values
    order = np.argsort(-p)
    places = np.arange(p.size)
    bars.barh(places, p[order], color=style.COLORS["blue"], height=0.7)
    bars.set(xlabel="probability $p_i$", ylabel="class i, most probable first")
    bars.set_yticks(places, [str(i + 1) for i in places])
    bars.grid(False, axis="y")
    bound = abs(jacobian).max()
    image = axis.imshow(jacobian[np.ix_(order, order)], cmap="PuOr", vmin=-bound, vmax=bound)
    axis.grid(False)
    axis.set(xlabel="logit j")
    axis.set_xticks(places, [str(i + 1) for i in places])
    figure.colorbar(image, ax=axis, label="slope of $p_i$ in $z_j$")
    style.panel_labels([bars, axis])
    figure.set_label(
        "Every probability of a softmax answers to every logit: the Jacobian is dense and symmetric, positive on the "
        "diagonal, negative off it, and its rows sum to 0."
    )
    return {"jacobian": figure}


identities = Part(
    Identities,
    {
        "target": Variable(("target",), "", "what the targets are like"),
        "gradient": Variable(("target", "problem", "class"), "", "gradient of the cross-entropy in the logits, by AD"),
        "less_target": Variable(("target", "problem", "class"), "", "p - y"),
        "scaled_less_target": Variable(("target", "problem", "class"), "", "sum(y) p - y"),
        "label": Variable(("problem",), "", "class of the one-hot target"),
        "probability": Variable(("problem", "class"), "", "softmax of the logits"),
        "gap_underflow": Variable(("of_two",), "", "softmax of (800, 0)"),
        "naive_logsumexp": Variable(("problem",), "", "log of the sum of exponentials, not shifted"),
        "logsumexp": Variable(("problem",), "", "the same, shifted by the largest"),
        "largest_exponent": Variable(("problem",), "", "largest exponent after the shift"),
        "logsumexp_edges": Variable(("edge",), "", "log-sum-exp of (1e4, 1e4 - 1) and of a row masked throughout"),
        "logit": Variable(("i",), "", "logits of the Jacobian"),
        "jacobian": Variable(("i", "j"), "", "Jacobian of softmax in closed form"),
        "jacobian_by_ad": Variable(("i", "j"), "", "the same by reverse mode, of the framework's softmax"),
        "logit_probability": Variable(("i",), "", "softmax of these logits"),
        "link": Variable(("link",), "", "family and link"),
        "link_gradient": Variable(("link", "problem"), "", "gradient of minus the log-likelihood in the parameter"),
        "link_residual": Variable(("link", "problem"), "", "prediction less target"),
        "example_probability": Variable(("of_three",), "", "softmax of (2, 1, 0.1)"),
        "example_gradient": Variable(("of_three",), "", "gradient of the cross-entropy for class 0"),
        "routine": Variable(("routine",), "", "routine of jax.nn"),
        "maxima": Variable(("routine",), "", "maxima that its program takes"),
    },
    "host",
    run_identities,
    figures=figures_of_identities,
    claims={
        "softmax-is-distribution": _is_distribution,
        "softmax-jacobian": _jacobian,
        "softmax-example-three-logits": _example,
        "log-sum-exp-identity": _logsumexp,
        "softmax-ce-gradient-p-minus-y": _less_target,
        "softmax-ce-gradient-componentwise": _componentwise,
        "ce-designed-to-pair-with-softmax": _links,
        "frameworks-shift-softmax-internally": _maxima,
    },
    doc="Is the gradient of softmax and cross-entropy p - y, and what is softmax's Jacobian?",
)

# -- stability ---------------------------------------------------------------------------------------------------------

_DTYPES = ("bfloat16", "float32", "float64")
_FORMS = ("exponentials", "log of softmax", "guarded", "fused")
_SIDES = ("wrong", "right")
_NAMES = {
    "exponentials": "ratio of exponentials",
    "log of softmax": "log after softmax",
    "guarded": "log(softmax + 1e-15)",
    "fused": "from logits",
}


class Stability(Config):
    per_octave: int = pydantic.Field(16, ge=16, le=16)
    """gaps for each doubling; sixteenths are numbers of bfloat16"""


def run_stability(config: Stability, key: Any) -> dict[str, Any]:
    import jax
    import jax.numpy as jnp

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
        y = jnp.broadcast_to(jnp.asarray([0.0, 1.0], dtype), z.shape)
        failing.append(steps[np.argmax(~np.isfinite(np.asarray(forms["log of softmax"](z, y))))])
    fine = np.arange(0, 720 * 500) / 500
    for dtype in ("float16", "float32", "float64"):
        x = jnp.asarray(fine, dtype)
        overflow.append(float(x[int(np.argmax(np.isinf(np.asarray(jnp.exp(x)))))]))
    large = jnp.array([1000.0, 0.0])
    plain = jnp.exp(large) / jnp.exp(large).sum()
    return {
        "dtype": np.array(_DTYPES),
        "side": np.array(_SIDES),
        "form": np.array(_FORMS),
        "gap": gap,
        "loss": loss,
        "slope": pull,
        "loss_infinite": np.isinf(loss).astype(float),
        "slope_undefined": np.isnan(pull).astype(float),
        "true_loss": true,
        "true_slope": np.stack([1 / (1 + np.exp(-gap)), -np.exp(-gap) / (1 + np.exp(-gap))]),
        "failing_dtype": np.array(["float32", "float64"]),
        "failing_gap": np.array(failing),
        "exp_dtype": np.array(["float16", "float32", "float64"]),
        "overflows_from": np.array(overflow),
        "plain_softmax": plain,
        "plain_undefined": jnp.isnan(plain).any().astype(float),
        "shifted_softmax": softmax(large),
        "single_one": np.asarray(np.float32(1) + np.float32(1e-15), np.float64),
    }


def _overflows(dataset: "xarray.Dataset") -> Finding:
    overflow = dict(zip(map(str, dataset.exp_dtype.values), dataset.overflows_from.values))
    shifted = dataset.shifted_softmax.values
    return Finding(
        close({name.replace("loat", ""): value for name, value in overflow.items()})
        & holds(dataset.plain_undefined)
        & equal(shifted, [1.0, 0.0]),
        measured=", ".join(f"{name} from {value:.2f}" for name, value in overflow.items())
        + f"; softmax of (1000, 0) plain not a number, shifted {shifted.tolist()}",
        figure="losses",
    )


def _log_of_softmax(dataset: "xarray.Dataset") -> Finding:
    wrong = dataset.sel(dtype="float64", side="wrong", gap=800.0)
    plain, fused = (wrong.sel(form=form) for form in ("log of softmax", "fused"))
    failing = zip(dataset.failing_dtype.values, dataset.failing_gap.values)
    return Finding(
        holds(plain.loss_infinite)
        & holds(plain.slope_undefined)
        & close({"fused": fused.loss})
        & equal(fused["slope"], 1.0)
        & below(dataset.failing_gap, 800.0),
        measured=f"at a gap of 800: loss {float(plain.loss):g} against {float(fused.loss):g}, slope "
        f"{float(plain['slope']):g} against {float(fused['slope']):g}; first infinite at a gap of "
        + ", ".join(f"{gap:.2f} ({name})" for name, gap in failing),
        figure="losses",
    )


def _guard(dataset: "xarray.Dataset") -> Finding:
    mine = dataset.sel(dtype="float64", form="guarded")
    wrong = mine.sel(side="wrong")
    top, pull, far = wrong.loss.sel(gap=800.0), *wrong["slope"].sel(gap=[40.0, 800.0]).values
    perfect = float(mine.loss.sel(side="right", gap=800.0))
    single = float(dataset.single_one)
    return Finding(
        holds(1 - wrong.loss_infinite),
        limits=less(pull, 0.5) & ~close(top, 800.0, 1.0) & equal(single, 1.0),
        measured=f"loss {float(top):.4g} at a gap of 800; slope {pull:.2g} at a gap of 40 and {far:g} "
        f"at 800 where it is 1; a perfect prediction costs {perfect:.2g}; in single precision "
        f"1 + 1e-15 is {single:.17g}",
        figure="slope",
    )


def _looks() -> dict[str, dict[str, Any]]:
    from jaxcalc import style

    looks = zip(("vermilion", "purple", "orange", "blue"), "sD^o", (4.6, 3.8, 4.4, 3.0))
    return {
        form: {"color": style.COLORS[color], "marker": marker, "markersize": size, "label": _NAMES[form]}
        for form, (color, marker, size) in zip(_FORMS, looks)
    }


def figures_of_stability(dataset: "xarray.Dataset") -> dict[str, "Figure"]:
    from jaxcalc import style

    looks, failed, most, floor = _looks(), 1e9, 1e4, 1e-18
    figure, axes = style.subplots(2, 3, width="page", height=4.6, sharex=True, sharey=True)
    tiny = {"bfloat16": 2.0**-126, "float32": 2.0**-126, "float64": 2.0**-1022}
    for row, side in zip(axes, map(str, dataset.side.values)):
        for axis, name in zip(row, map(str, dataset.dtype.values)):
            true = dataset.true_loss.sel(side=side).values
            held = true >= tiny[name]  # beyond, the loss itself is no normal number of the dtype
            gap, true = dataset.gap.values[held], true[held]
            for offset, form in enumerate(map(str, dataset.form.values)):
                error = abs(dataset.loss.sel(side=side, dtype=name, form=form).values[held] / true - 1)
                shown = np.where(np.isfinite(error), np.clip(error, floor, most), failed)
                axis.plot(gap, shown, **{**looks[form], "linewidth": 0.9}, markevery=(4 * offset, 16))
            axis.set(xscale="log", yscale="log", ylim=(floor / 10, 30 * failed), xlim=(0.25, 1000))
            axis.set_yticks(
                [floor, 1e-12, 1e-6, 1, most, failed],
                ["0", "$10^{-12}$", "$10^{-6}$", "1", r"$\geq 10^{4}$", "not finite"],
            )
            axis.set_title(f"{name}, {side}")
        row[0].set_ylabel("relative error of the loss")
    for axis in axes[1]:
        axis.set_xlabel("gap between the logits")
    handles = axes[0, 0].get_legend_handles_labels()
    figure.legend(*handles, loc="outside upper center", ncols=4)
    figure.set_label(
        "One loss written four ways, for a prediction that is confidently wrong or right. Only the one from logits "
        "keeps its digits at every gap where the loss is a number of the dtype. Below, a relative "
        "error of 1 is a loss of 0."
    )
    slope, axis = style.subplots(width=4.4, height=2.9)
    wrong = dataset.sel(dtype="float64", side="wrong")
    for offset, form in enumerate(map(str, dataset.form.values)):
        mine = wrong["slope"].sel(form=form)
        axis.plot(dataset.gap, mine.fillna(1.3), **looks[form], markevery=(4 * offset, 16))
    theory = dataset.true_slope.sel(side="wrong") / (1 + 1e-15 * np.exp(np.minimum(dataset.gap, 600)))
    axis.plot(dataset.gap, theory, **{**style.THEORY, "zorder": 3}, label=r"$1 / (1 + 10^{-15} e^{\mathrm{gap}})$")
    axis.set(xscale="log", ylim=(-0.05, 1.4), xlim=(1, 1000))
    axis.set_yticks([0, 0.25, 0.5, 0.75, 1, 1.3], ["0", "0.25", "0.5", "0.75", "1", "NaN"])
    axis.set(xlabel="gap between the logits", ylabel="gradient in the wrong logit")
    axis.legend(loc="lower left")
    slope.set_label(
        "The pull on a confidently wrong logit, in double precision. It should be near 1: a guard inside the logarithm "
        "takes it away from a gap of 34.5 on (dashed), the ratio of exponentials where the "
        "square of one overflows (355); forms without a guard end in NaN."
    )
    return {"losses": figure, "slope": slope}


stability = Part(
    Stability,
    {
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
        "failing_dtype": Variable(("failing_dtype",), "", "precision"),
        "failing_gap": Variable(("failing_dtype",), "", "least gap, in quarters, with log after softmax infinite"),
        "exp_dtype": Variable(("exp_dtype",), "", "precision"),
        "overflows_from": Variable(("exp_dtype",), "", "least argument found whose exponential is infinite"),
        "plain_softmax": Variable(("of_two",), "", "softmax of (1000, 0), not shifted"),
        "plain_undefined": Variable((), "", "whether an entry of it is NaN"),
        "shifted_softmax": Variable(("of_two",), "", "the same, shifted"),
        "single_one": Variable((), "", "1 + 1e-15 in single precision"),
    },
    "host",
    run_stability,
    figures=figures_of_stability,
    claims={
        "naive-softmax-overflows": _overflows,
        "log-of-softmax-unstable": _log_of_softmax,
        "ce-with-1e-15-guard": _guard,
    },
    doc="Which way of writing the cross-entropy survives large logits?",
)
