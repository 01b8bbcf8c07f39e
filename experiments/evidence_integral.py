"""How near do quadrature, importance sampling, Laplace's approximation and a variational bound come to known evidence?

Three models whose evidence has a closed form: a coin (by its logit), a rate (its logarithm), a line (two parameters).
"""

import numpy as np
import pydantic

from jaxcalc import lab, style
from jaxcalc.lab import Finding, NotJudged, Variable, above, below, close, jax, jnp, less

kind = "host"
_CHANCE = 4.0
MODELS = ("coin", "rate", "line")
METHODS = (
    "quadrature",
    "importance, from the prior",
    "importance, from Laplace",
    "Laplace",
    "bound of Laplace's normal",
)


class Config(lab.Config):
    points: int = pydantic.Field(96, ge=8)
    """of Gauss's rule, on each axis"""
    draws: int = pydantic.Field(1 << 16, ge=1024)
    """of every estimate"""
    trials: tuple[int, ...] = pydantic.Field((4, 16, 64, 256, 1024), min_length=3)
    """tosses of the coin, three heads in eight, against which Laplace's error is held"""


VARIABLES = {
    "model": Variable(("model",), "", "what the evidence is of"),
    "method": Variable(("method",), "", "how it is taken"),
    "exact": Variable(("model",), "nat", "log evidence in closed form"),
    "log_evidence": Variable(("model", "method"), "nat", "log evidence, or a bound"),
    "standard_error": Variable(("model", "method"), "nat", "its standard error; 0 where nothing is drawn"),
    "trials": Variable(("trials",), "", "tosses of the coin"),
    "laplace_error": Variable(("trials",), "nat", "error of Laplace's log evidence of the coin"),
    "beta_binomial": Variable((), "", "relative error of the coin's evidence by quadrature over its bias"),
}


def run(config, key):
    from jaxcalc.functions.evidence_models import beta_binomial, exponential_decay, linear_regression
    from jaxcalc.transforms.expectation import total_mass
    from jaxcalc.transforms.laplace_approximation import laplace_approximation

    models = dict(zip(MODELS, (beta_binomial(), exponential_decay(), linear_regression())))
    keys = jax.random.split(key, len(models))
    rows = [_by_all_methods(model, config, each) for model, each in zip(models.values(), keys)]
    coins = [beta_binomial(count, 3 * count // 8) for count in config.trials]
    by_laplace = [laplace_approximation(coin.log_joint)(coin.mode).log_mass for coin in coins]
    likelihood = lambda t: np.log(77520.0) + 7 * jnp.log(t) + 13 * jnp.log1p(-t)  # binom(20, 7) t^7 (1 - t)^13
    by_rule = total_mass(likelihood, support=(0.0, 1.0), method="gauss-legendre", num_points=64)()
    return {
        "model": np.array(MODELS),
        "method": np.array(METHODS),
        "exact": np.array([model.log_evidence for model in models.values()]),
        "log_evidence": np.array([[float(value) for value, _ in row] for row in rows]),
        "standard_error": np.array([[float(error) for _, error in row] for row in rows]),
        "trials": np.array(config.trials),
        "laplace_error": np.array([float(value) - coin.log_evidence for value, coin in zip(by_laplace, coins)]),
        "beta_binomial": float(by_rule) * 21 - 1,
    }


def _by_all_methods(model, config, key):
    """``(log evidence, standard error)`` by each method."""
    from jaxcalc.transforms.expectation import expectation, total_mass
    from jaxcalc.transforms.laplace_approximation import laplace_approximation
    from jaxcalc.transforms.sampling import importance_sampling

    first, second, third = jax.random.split(key, 3)
    near = laplace_approximation(model.log_joint)(model.mode)
    # In units of the mode's density, which of many data is a number too small.
    top = model.log_joint(jnp.asarray(model.mode))
    joint = lambda t: jnp.exp(model.log_joint(t) - top)
    rule = total_mass(
        lambda t: model.log_joint(t) - top, support=model.box, method="gauss-legendre", num_points=config.points
    )
    weigh = lambda sample, log_density, key: jax.jit(
        importance_sampling(joint, sample, log_density, num_samples=config.draws)
    )(key)
    logarithm = lambda found: (jnp.log(found.value) + top, found.standard_error / found.value)
    normal = near.distribution
    gap = lambda t: model.log_joint(t) - normal.log_density(t)
    bound = expectation(gap, lambda: normal, method="score", control_variate="none", num_samples=config.draws)
    found = jax.jit(bound)(third)
    return [
        (jnp.log(rule()) + top, 0.0),
        logarithm(weigh(model.prior_sample, model.prior_log_density, first)),
        logarithm(weigh(normal.sample, normal.log_density, second)),
        (near.log_mass, 0.0),
        (found.value, found.standard_error),
    ]


def _error(dataset):
    return dataset.log_evidence - dataset.exact


def _quadrature(dataset):
    error = abs(_error(dataset).sel({"method": "quadrature"}))
    return Finding(below(error, 1e-9), measured=f"at most {float(error.max()):.2g} nats off", figure="evidence")


def _importance(dataset):
    error, told = (data.sel({"method": list(METHODS[1:3])}) for data in (_error(dataset), dataset.standard_error))
    # Of the line Laplace's normal is the posterior: all weights are equal but for rounding.
    off = abs(error) / np.maximum(told, 1e-12)
    from_prior, from_laplace = (told.sel({"method": name}) for name in METHODS[1:3])
    gain = (from_prior / from_laplace).sel(model=["coin", "rate"])
    return Finding(
        below(off, _CHANCE) & less(from_laplace, from_prior),
        measured=f"at most {float(off.max()):.2f} standard errors off; from Laplace's normal "
        f"{float(gain.min()):.2f} and {float(gain.max()):.2f} times smaller for coin and rate",
        figure="evidence",
    )


def _bound(dataset):
    gap = -_error(dataset).sel({"method": METHODS[4]})
    told = dataset.standard_error.sel({"method": METHODS[4]})
    # Of the line the posterior is normal: the gap is nothing, and so is the spread.
    return Finding(
        above(gap + _CHANCE * told, -1e-12)
        & close(gap.sel(model="line"), 0.0, 1e-9)
        & above(gap.sel(model="coin"), 1e-3),
        measured=", ".join(f"{name}: {float(gap.sel(model=name)):.2g} nats below" for name in MODELS),
        figure="evidence",
    )


def _laplace(dataset):
    error = abs(dataset.laplace_error)
    if error.size < 3:
        raise NotJudged("an order takes three numbers of tosses")
    last = error.isel(trials=slice(-3, None))
    order = np.polyfit(np.log(last.trials.values), np.log(last.values), 1)[0] if (last > 0).all() else np.nan
    of_line = _error(dataset).sel({"method": "Laplace", "model": "line"})
    return Finding(
        close(order, -1.0, 0.1) & close(of_line, 0.0, 1e-9),
        measured=f"order {order:.3f}; of a normal posterior {float(of_line):.2g}",
        figure="evidence",
    )


def figures(dataset):
    figure, (left, right) = style.subplots(1, 2, width="page", height=2.9, gridspec_kw={"width_ratios": [1.7, 1]})
    floor = 1e-16
    looks = dict(zip(METHODS, (("purple", "v"), ("blue", "o"), ("sky", "D"), ("vermilion", "s"), ("green", "^"))))
    places = np.arange(len(MODELS))
    for shift, (name, (color, marker)) in zip(np.linspace(-0.24, 0.24, len(METHODS)), looks.items()):
        at = dataset.sel({"method": name})
        error = np.maximum(abs(at.log_evidence - dataset.exact).values, floor)
        look = {"color": style.COLORS[color], "label": name, "ms": 5}
        left.plot(places + shift, error, marker, **look)
        told = at.standard_error.values
        for x, size in zip(places + shift, told):
            if size > 0:
                left.plot([x - 0.05, x + 0.05], [size, size], color=style.COLORS[color], lw=1.2)
    left.set(yscale="log", ylim=(floor / 3, 10), ylabel="error of the log evidence (nat)")
    left.set_xticks(places, MODELS)
    figure.legend(*left.get_legend_handles_labels(), loc="outside lower center", ncols=3)
    error = abs(dataset.laplace_error)
    right.plot(dataset.trials, error, "s-", color=style.COLORS["vermilion"])
    right.plot(dataset.trials, 0.6 * error[0] * dataset.trials[0] / dataset.trials, **style.THEORY)
    right.set(xscale="log", yscale="log", xlabel="tosses of the coin $n$", ylabel="error of Laplace's (nat)")
    right.annotate("$1/n$", (float(dataset.trials[2]), float(0.6 * error[0] * dataset.trials[0] / dataset.trials[2])),
                   xytext=(-4, -8), textcoords="offset points", ha="right", fontsize=7)  # fmt: skip
    figure.set_label(
        "Left: error of the log evidence of three models in closed form; bars: the standard errors told. Of the bound "
        "the error is the divergence of the posterior from Laplace's normal. Right: Laplace's error against data."
    )
    return {"evidence": figure}


claims = {
    "bayes-evidence-is-integral": lambda dataset: below(abs(dataset.beta_binomial)),
    "evidence-by-quadrature": _quadrature,
    "evidence-by-importance-sampling": _importance,
    "bound-is-below-the-evidence": _bound,
    "laplace-error-falls-with-data": _laplace,
}
