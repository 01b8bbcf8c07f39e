"""Softmax and cross-entropy: is the gradient p - y, and which way of writing the loss survives large logits?

Identities on random problems, the Jacobian and the printed example (``identities``); the same loss written four ways
at growing gaps between logits, in three precisions (``stability``).
"""

from typing import TYPE_CHECKING, Any

import numpy as np
import pydantic

from experiments._judged import entry, judged
from jaxcalc.lab import Claim, Config, Part, Variable

if TYPE_CHECKING:
    import xarray
    from matplotlib.figure import Figure

_EPS = float(np.finfo(float).eps)


def _largest(values: "xarray.DataArray") -> float:
    """The largest entry in size; NaN if any is."""
    return float(abs(values).max(skipna=False))


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


def claims_of_identities(dataset: "xarray.Dataset") -> list[Claim]:
    gap = {str(t): _largest((dataset.gradient - dataset.less_target).sel(target=t)) for t in dataset.target.values}
    scaled = _largest(dataset.gradient - dataset.scaled_less_target)
    one_hot, soft, short = gap["one-hot"], gap["soft"], gap["summing to 0.6"]
    right = np.eye(dataset.sizes["class"])[dataset.label.values.astype(int)] == 1
    gradient, p = dataset.gradient.sel(target="one-hot").values, dataset.probability.values
    parts = float(abs(gradient - np.where(right, p - 1, p)).max())
    sums = _largest(dataset.probability.sum("class", skipna=False) - 1)
    lse = _largest(dataset.naive_logsumexp - dataset["logsumexp"])
    edges = dataset.logsumexp_edges.values
    jacobian = dataset.jacobian.values
    dense = jacobian.size - int(np.count_nonzero(jacobian == 0))
    from_ad = float(abs(jacobian - dataset.jacobian_by_ad.values).max())
    q = dataset.logit_probability.values
    by_rule = float(abs(jacobian - (np.diag(q) - np.outer(q, q))).max())
    least = float(abs(np.linalg.eigvalsh(jacobian)).min())
    links = dataset.link_gradient - dataset.link_residual
    link_gap = {str(name): _largest(links.sel(link=name)) for name in dataset.link.values}
    known: Any = entry("softmax-example-three-logits").expected
    example = [dataset.example_probability.values, dataset.example_gradient.values]
    within = entry("softmax-example-three-logits").tolerance
    fits = all(bool((abs(a - np.array(known[b])) <= within).all()) for a, b in zip(example, ("p", "gradient")))
    maxima = dataset.maxima.values
    return [
        judged(
            "softmax-is-distribution",
            sums <= entry("softmax-is-distribution").tolerance and float(dataset.probability.min(skipna=False)) > 0,
            measured=f"sums off by {sums:.2g}, least entry {float(dataset.probability.min()):.2g}; at a gap of 800 the "
            f"smaller is {float(dataset.gap_underflow[1]):g}",
        ),
        judged(
            "softmax-jacobian",
            max(from_ad, by_rule) <= entry("softmax-jacobian").tolerance and dense == jacobian.size,
            measured=f"differences {from_ad:.2g} (AD) and {by_rule:.2g} (formula), {dense} of {jacobian.size} entries "
            f"not 0; smallest eigenvalue {least:.1g}",
            figure="jacobian",
        ),
        judged(
            "softmax-example-three-logits",
            fits and abs(float(example[0].sum()) - known["sum"]) <= 4 * _EPS,
            measured=[[float(f"{v:.4f}") for v in row] for row in example],
        ),
        judged(
            "log-sum-exp-identity",
            lse <= entry("log-sum-exp-identity").tolerance and float(dataset.largest_exponent.max(skipna=False)) == 0.0,
            measured=f"difference {lse:.2g}; at 1e4 {edges[0]:.6f}; all masked {edges[1]}",
        ),
        judged(
            "softmax-ce-gradient-p-minus-y",
            max(one_hot, soft) <= entry("softmax-ce-gradient-p-minus-y").tolerance,
            measured=f"largest difference {one_hot:.2g} one-hot, {soft:.2g} soft",
        ),
        judged(
            "softmax-ce-gradient-componentwise",
            parts <= entry("softmax-ce-gradient-componentwise").tolerance,
            measured=f"largest difference {parts:.2g}; a target summing to 0.6 breaks p - y by {short:.3g}, and obeys "
            f"sum(y) p - y to {scaled:.2g}",
        ),
        judged(
            "ce-designed-to-pair-with-softmax",
            one_hot <= entry("ce-designed-to-pair-with-softmax").tolerance,
            limits=max(link_gap.values()) <= entry("ce-designed-to-pair-with-softmax").tolerance,
            measured="prediction less target is the gradient of "
            + ", ".join(f"{name} (to {value:.1g})" for name, value in {"softmax": one_hot, **link_gap}.items()),
        ),
        judged(
            "frameworks-shift-softmax-internally",
            bool((maxima > 0).all()),
            measured=", ".join(f"{n}: {m}" for n, m in zip(dataset.routine.values, maxima))
            + " (maxima in JAX's programs)",
        ),
    ]


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
    claims=claims_of_identities,
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
    return {
        "dtype": np.array(_DTYPES),
        "side": np.array(_SIDES),
        "form": np.array(_FORMS),
        "gap": gap,
        "loss": loss,
        "slope": pull,
        "true_loss": true,
        "true_slope": np.stack([1 / (1 + np.exp(-gap)), -np.exp(-gap) / (1 + np.exp(-gap))]),
        "failing_dtype": np.array(["float32", "float64"]),
        "failing_gap": np.array(failing),
        "exp_dtype": np.array(["float16", "float32", "float64"]),
        "overflows_from": np.array(overflow),
        "plain_softmax": jnp.exp(large) / jnp.exp(large).sum(),
        "shifted_softmax": softmax(large),
        "single_one": np.asarray(np.float32(1) + np.float32(1e-15), np.float64),
    }


def claims_of_stability(dataset: "xarray.Dataset") -> list[Claim]:
    known: Any = entry("naive-softmax-overflows").expected
    overflow = dataset.overflows_from.values
    plain, shifted = dataset.plain_softmax.values, dataset.shifted_softmax.values
    wrong = dataset.sel(dtype="float64", side="wrong")
    at = lambda name, form, gap: float(wrong[name].sel(form=form, gap=gap))
    naive, fused = at("loss", "log of softmax", 800.0), at("loss", "fused", 800.0)
    slopes = at("slope", "log of softmax", 800.0), at("slope", "fused", 800.0)
    guarded = wrong.loss.sel(form="guarded").values
    pulls = at("slope", "guarded", 40.0), at("slope", "guarded", 800.0)
    perfect = float(dataset.loss.sel(dtype="float64", side="right", form="guarded", gap=800.0))
    failing = dict(zip(map(str, dataset.failing_dtype.values), map(float, dataset.failing_gap.values)))
    return [
        judged(
            "naive-softmax-overflows",
            bool((abs(overflow - np.array(list(known.values()))) <= entry("naive-softmax-overflows").tolerance).all())
            and bool(np.isnan(plain).any())
            and bool((shifted == [1.0, 0.0]).all()),
            measured=", ".join(f"{n} from {v:.2f}" for n, v in zip(dataset.exp_dtype.values, overflow))
            + f"; softmax of (1000, 0) plain {plain.tolist()}, shifted {shifted.tolist()}",
            figure="losses",
        ),
        judged(
            "log-of-softmax-unstable",
            bool(np.isposinf(naive) and fused == 800.0 and np.isnan(slopes[0]) and slopes[1] == 1.0),
            measured=f"at a gap of 800: loss {naive:g} against {fused:g}, slope {slopes[0]:g} against {slopes[1]:g}; "
            "first infinite at a gap of " + ", ".join(f"{gap:.2f} ({name})" for name, gap in failing.items()),
            figure="losses",
        ),
        judged(
            "ce-with-1e-15-guard",
            bool(np.isfinite(guarded).all()),
            limits=pulls[0] < 0.5 and abs(guarded.max() - 800.0) > 1.0,
            measured=f"loss at most {guarded.max():.4g}; slope {pulls[0]:.2g} at a gap of 40 and {pulls[1]:g} at 800 "
            f"where it is 1; a perfect prediction costs {perfect:.2g}; in single precision 1 + 1e-15 is "
            f"{float(dataset.single_one):.17g}",
            figure="slope",
        ),
    ]


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
        "true_loss": Variable(("side", "gap"), "nat", "cross-entropy in closed form, double precision"),
        "true_slope": Variable(("side", "gap"), "", "its derivative by the larger logit"),
        "failing_dtype": Variable(("failing_dtype",), "", "precision"),
        "failing_gap": Variable(("failing_dtype",), "", "least gap, in quarters, with log after softmax infinite"),
        "exp_dtype": Variable(("exp_dtype",), "", "precision"),
        "overflows_from": Variable(("exp_dtype",), "", "least argument found whose exponential is infinite"),
        "plain_softmax": Variable(("of_two",), "", "softmax of (1000, 0), not shifted"),
        "shifted_softmax": Variable(("of_two",), "", "the same, shifted"),
        "single_one": Variable((), "", "1 + 1e-15 in single precision"),
    },
    "host",
    run_stability,
    figures=figures_of_stability,
    claims=claims_of_stability,
    doc="Which way of writing the cross-entropy survives large logits?",
)
