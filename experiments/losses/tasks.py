"""Which loss is for which task, and what does the wrong one cost?

A line through noisy points, some of them far off; two overlapping classes, some samples far on the right side; and a
classifier that starts with confident mistakes.
"""

import functools

import numpy as np
import pydantic

from jaxcalc import lab, style
from jaxcalc.lab import Finding, Variable, above, below, close, jax, jnp, less

kind = "host"

_LINE = (1.0, 2.0)  # intercept and slope
_FAR = 0.2  # share of class 1 that lies far on the right side
_NAMES = {"squared error": "mse", "absolute error": "mae", "Huber": "huber"}


class Config(lab.Config):
    draws: int = pydantic.Field(200, ge=10)
    """random samples of each regression task; of each classification task a tenth"""
    samples: int = pydantic.Field(200, ge=20)
    """points in a sample"""
    outlier: float = pydantic.Field(20.0, gt=0)
    """how far outliers are above the line, in standard deviations of the noise"""
    num_steps: int = pydantic.Field(1500, ge=1)
    """steps that train a classifier"""


VARIABLES = {
    "fit": Variable(("fit",), "", "loss of the regression"),
    "outliers": Variable(("outliers",), "", "share of points that are far off"),
    "error": Variable(("draw", "outliers", "fit"), "", "distance of the fitted line from the true one"),
    "loss": Variable(("loss",), "", "loss of the classifier"),
    "distance": Variable(("distance",), "", "distance of a fifth of class 1 from the border"),
    "wrong": Variable(("sample", "distance", "loss"), "", "share of the two classes that is told wrongly"),
    "recovered": Variable(("sample", "loss"), "", "the same after a start with confident mistakes"),
    "least_wrong": Variable((), "", "the share that no classifier falls below"),
    "score": Variable(("score",), "", "score of a sample of class 1"),
    "slope": Variable(("loss", "score"), "", "size of the loss's slope by the score"),
}


def _classifiers():
    """Losses of a score z against a sign s of -1 or 1."""
    from jaxcalc.functions import losses
    from jaxcalc.functions.activations import sigmoid

    return {
        "cross-entropy": lambda z, s: losses.binary_cross_entropy_from_logits.value(z, (s + 1) / 2),
        "hinge": losses.hinge.value,
        "squared error": losses.mse.value,
        "squared error of a sigmoid": lambda z, s: losses.mse.value(sigmoid(z), (s + 1) / 2),
    }


def _regression(config, key, shares):
    """Distances of fitted lines from the true one, root mean square over [-1, 1], by (draw, share, loss)."""
    from jaxcalc.functions.losses import loss
    from jaxcalc.solvers import reweighted_least_squares

    x = jnp.linspace(-1, 1, config.samples)
    design = jnp.stack([jnp.ones_like(x), x], axis=-1)
    slopes = [lambda r, name=name: loss(name).gradient(r, jnp.zeros_like(r)) for name in _NAMES.values()]

    def errors(key):
        noise, order = jax.random.normal(key, x.shape), jax.random.uniform(jax.random.fold_in(key, 1), x.shape)
        lines = []
        for share in shares:
            y = design @ jnp.array(_LINE) + noise + config.outlier * (order < share)
            lines.append([reweighted_least_squares(design, y, slope) - jnp.array(_LINE) for slope in slopes])
        return jnp.sqrt(jnp.mean((jnp.array(lines) @ design.T) ** 2, axis=-1))

    return jax.jit(lambda keys: jax.lax.map(errors, keys))(jax.random.split(key, config.draws))


def _classification(config, key, distances):
    """Shares told wrongly by (sample, distance, loss), and by (sample, loss) after a start with confident mistakes."""
    from jax.scipy.stats import norm

    from jaxcalc.solvers import adam, gradient_descent, iterate

    sign = jnp.where(jnp.arange(config.samples) % 2 == 0, 1.0, -1.0)
    far = (sign > 0) & (jnp.arange(config.samples) < _FAR * config.samples)

    def wrong(loss, x, start, solver):
        total = lambda w: jnp.mean(loss(w[0] + w[1] * x, sign))
        keep = lambda at: None
        w = iterate(solver, total, jnp.array(start), num_steps=config.num_steps, record=keep).last.x
        border, side = -w[0] / w[1], jnp.sign(w[1])
        return (norm.cdf(side * (border - 1)) + norm.cdf(side * (-1 - border))) / 2

    def each(key):
        x, losses = sign + jax.random.normal(key, sign.shape), _classifiers().values()
        fitted = lambda loss, d: wrong(loss, x + d * far, (0.0, 0.1), adam(0.05))
        told = [jax.vmap(functools.partial(fitted, loss))(distances) for loss in losses]
        back = [wrong(loss, x, (0.0, -20.0), gradient_descent(0.5)) for loss in losses]
        return jnp.stack(told, axis=-1), jnp.stack(back)

    return jax.jit(jax.vmap(each))(jax.random.split(key, -(-config.draws // 10)))


def run(config, key):
    from jax.scipy.stats import norm

    shares, distances = np.array([0.0, 0.05, 0.1, 0.2, 0.3]), np.array([0.0, 5.0, 10.0, 20.0, 40.0])
    first, second = jax.random.split(key)
    wrong, recovered = _classification(config, second, jnp.asarray(distances))
    score = jnp.linspace(-20.0, 20.0, 41)
    slope = lambda fun: abs(jax.vmap(jax.grad(lambda z: fun(z, jnp.ones(()))))(score))
    return {
        "fit": np.array(list(_NAMES)),
        "outliers": shares,
        "error": _regression(config, first, shares),
        "loss": np.array(list(_classifiers())),
        "distance": distances,
        "wrong": wrong,
        "recovered": recovered,
        "least_wrong": norm.cdf(-1.0),
        "score": score,
        "slope": jnp.stack([slope(fun) for fun in _classifiers().values()]),
    }


def _mean_square(dataset, share):
    """Mean squared distance of the fitted lines from the true one, by loss."""
    return (dataset.error.sel(outliers=share) ** 2).mean("draw", skipna=False)


def _normal_noise(dataset):
    squares = _mean_square(dataset, 0.0)
    others = squares / squares.sel(fit="squared error")
    return Finding(
        close({name: others.sel(fit=name) for name in ("absolute error", "Huber")}),
        measured=", ".join(f"{name} {float(others.sel(fit=name)):.3g}" for name in _NAMES),
    )


def _outliers(dataset):
    squares = _mean_square(dataset, 0.1) ** 0.5
    ratio = squares.sel(fit="squared error") / squares.sel(fit=["absolute error", "Huber"])
    return Finding(
        above(ratio, 5.0),
        measured=f"with a tenth of outliers {float(ratio[0]):.3g} times the absolute error's, {float(ratio[1]):.3g} "
        "times Huber's",
    )


def _too_right(dataset):
    excess = dataset.wrong.isel(distance=-1).mean("sample", skipna=False) - dataset.least_wrong
    of = lambda *names: excess.sel(loss=list(names))
    return Finding(
        above(of("squared error"), 0.1) & below(of("cross-entropy", "hinge"), 0.05),
        measured=", ".join(f"{name} {float(part):+.3f}" for name, part in zip(excess.loss.values, excess)),
    )


def _stops_learning(dataset):
    worst = dataset.slope.isel(score=0)
    left = dataset.recovered.mean("sample", skipna=False)
    of = lambda array, *names: array.sel(loss=list(names))
    sigmoid, others = "squared error of a sigmoid", ("cross-entropy", "hinge")
    return Finding(
        below(of(worst, sigmoid), 1e-7)
        & above(of(worst, *others), 0.99)
        & less(0.5, of(left, sigmoid))
        & below(of(left, *others), 0.2),
        measured=f"slope {float(worst.sel(loss=sigmoid)):.2g} at a score of {float(worst.score):g}, the "
        f"cross-entropy's {float(worst[0]):.3g}; wrong after descent: {float(left.sel(loss=sigmoid)):.1%} and "
        f"{float(left[0]):.1%}",
    )


def figures(dataset):
    figure, panels = style.subplots(1, 3, width="page", height=3.1)
    style.chart(
        dataset.error,
        "outliers",
        hue="fit",
        log="y",
        axes=panels[0],
        legend="lower right",
        xlabel="share of outliers",
        ylabel="distance from the true line",
        ylim=(0.02, 10),
    )
    style.chart(
        dataset.wrong.assign_coords(distance=dataset.distance),
        "distance",
        hue="loss",
        theory=dataset.least_wrong.expand_dims(distance=dataset.distance),
        axes=panels[1],
        legend=None,
        xlabel="distance of a fifth of class 1",
        ylabel="share told wrongly",
    )
    style.chart(
        dataset.slope,
        "score",
        hue="loss",
        log="y",
        axes=panels[2],
        legend=None,
        xlabel="score of a sample of class 1",
        ylabel="size of the loss's slope",
        ylim=(1e-10, 1e3),
    )
    figure.legend(*panels[1].get_legend_handles_labels(), loc="outside lower center", ncols=4)
    figure.set_label(
        "Medians and quartiles over samples. a: a line fitted to points with normal noise, some of them far off. b: "
        "two classes, a fifth of one far on the right side; dashed: no classifier does better. c: what a sample "
        "teaches: confident mistakes are on the left; hollow: nothing."
    )
    return {"tasks": figure}


claims = {
    "squared-error-is-for-normal-noise": _normal_noise,
    "outliers-rule-the-squared-error": _outliers,
    "squared-error-punishes-the-right": _too_right,
    "squared-error-of-a-sigmoid-stops-learning": _stops_learning,
}
