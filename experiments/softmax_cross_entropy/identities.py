"""Is the gradient of softmax and cross-entropy p - y, and what is softmax's Jacobian?"""

import numpy as np
import pydantic

from jaxcalc import lab, style
from jaxcalc.lab import FACTS, Finding, Variable, above, below, close, equal, fact, jax, jnp, less, pack_facts

kind = "host"

_EPS = float(np.finfo(float).eps)


class Config(lab.Config):
    problems: int = pydantic.Field(2000, ge=10)
    """random logits and targets"""
    classes: int = pydantic.Field(10, ge=2)
    """classes of each"""
    size: int = pydantic.Field(7, ge=2)
    """logits of the Jacobian"""


VARIABLES = {
    **FACTS,
    "target": Variable(("target",), "", "what the targets are like"),
    "gradient": Variable(("target", "problem", "class"), "", "gradient of the cross-entropy in the logits, by AD"),
    "less_target": Variable(("target", "problem", "class"), "", "p - y"),
    "label": Variable(("problem",), "", "class of the one-hot target"),
    "probability": Variable(("problem", "class"), "", "softmax of the logits"),
    "logit": Variable(("i",), "", "logits of the Jacobian"),
    "jacobian": Variable(("i", "j"), "", "Jacobian of softmax in closed form"),
    "jacobian_by_ad": Variable(("i", "j"), "", "the same by reverse mode, of the framework's softmax"),
    "logit_probability": Variable(("i",), "", "softmax of these logits"),
    "link": Variable(("link",), "", "family and link"),
    "link_gradient": Variable(("link", "problem"), "", "gradient of minus the log-likelihood in the parameter"),
    "link_residual": Variable(("link", "problem"), "", "prediction less target"),
    "routine": Variable(("routine",), "", "routine of jax.nn"),
    "maxima": Variable(("routine",), "", "maxima that its program takes"),
}


def run(config, key):
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
    sums = jnp.log(jnp.sum(jnp.exp(wide), axis=-1)), logsumexp(wide)
    shifted = (wide - wide.max(axis=-1, keepdims=True)).max()
    edges = jnp.array([1e4, 1e4 - 1]), jnp.full(2, -jnp.inf)
    facts = {
        "softmax-is-distribution": softmax(jnp.array([800.0, 0.0])),
        "softmax-example-three-logits": [softmax(example), jax.grad(lambda z: loss(z, first))(example)],
        "log-sum-exp-identity": [abs(sums[0] - sums[1]).max(), shifted, *map(logsumexp, edges)],
    }
    maxima = lambda fun: sum(e.name == "reduce_max" for e in walk.trace(fun, example).everything())
    return {
        **pack_facts(facts),
        "target": np.array(list(targets)),
        "gradient": np.stack([by_ad(z, y) for y in targets.values()]),
        "less_target": np.stack([p - y for y in targets.values()]),
        "label": label,
        "probability": p,
        "logit": logits,
        "jacobian": softmax_jacobian(logits),
        "jacobian_by_ad": jax.jacrev(jax.nn.softmax)(logits),
        "logit_probability": softmax(logits),
        "link": np.array(list(links)),
        "link_gradient": np.stack([gradient for gradient, _ in links.values()]),
        "link_residual": np.stack([residual for _, residual in links.values()]),
        "routine": np.array(list(routines)),
        "maxima": np.array([maxima(fun) for fun in routines.values()]),
    }


def _is_distribution(dataset):
    p, two = dataset.probability.values, fact(dataset, "softmax-is-distribution")
    sums = abs(np.append(p.sum(axis=-1), two.sum()) - 1)
    return Finding(
        below(sums) & less(0.0, p),
        measured=f"sums off by {sums.max():.2g}, least entry {p.min():.2g}; at a gap of 800 the smaller is {two[1]:g}",
    )


def _jacobian(dataset):
    jacobian, q = dataset.jacobian.values, dataset.logit_probability.values
    from_ad = abs(jacobian - dataset.jacobian_by_ad.values)
    by_rule = abs(jacobian - (np.diag(q) - np.outer(q, q)))
    least = abs(np.linalg.eigvalsh(jacobian)).min()
    return Finding(
        below([from_ad, by_rule]) & less(0.0, abs(jacobian)),
        measured=f"differences {from_ad.max():.2g} (AD) and {by_rule.max():.2g} (formula), "
        f"{np.count_nonzero(jacobian)} of {jacobian.size} entries not 0; smallest eigenvalue {least:.1g}",
    )


def _example(dataset):
    p, gradient = fact(dataset, "softmax-example-three-logits").reshape(2, 3)
    return Finding(
        close({"p": p, "gradient": gradient}) & close({"sum": p.sum()}, tolerance=4 * _EPS),
        measured=[[float(f"{v:.4f}") for v in row] for row in (p, gradient)],
    )


def _logsumexp(dataset):
    gap, exponent, large, masked = fact(dataset, "log-sum-exp-identity")
    return Finding(
        below(gap) & equal(exponent, 0.0) & close(large, 1e4 + np.log1p(np.exp(-1.0)), 4e4 * _EPS),
        measured=f"difference {gap:.2g}; at 1e4 {large:.6f}; all masked {masked}",
    )


def _off(dataset, target):
    """How far the gradient is from p - y."""
    return abs(dataset.gradient - dataset.less_target).sel(target=target).values


def _less_target(dataset):
    hot, soft, short = (_off(dataset, t) for t in ("one-hot", "soft", "summing to 0.6"))
    return Finding(
        below([hot, soft]),
        measured=f"largest difference {hot.max():.2g} one-hot, {soft.max():.2g} soft; a target "
        f"summing to 0.6 breaks it by {short.max():.3g}",
    )


def _componentwise(dataset):
    right = np.eye(dataset.sizes["class"])[dataset.label.values.astype(int)] == 1
    gradient, p = dataset.gradient.sel(target="one-hot").values, dataset.probability.values
    return Finding(below(abs(gradient - np.where(right, p - 1, p))))


def _links(dataset):
    softmax, links = _off(dataset, "one-hot"), abs(dataset.link_gradient - dataset.link_residual)
    worst = {"softmax": softmax.max()}
    worst |= {str(name): links.sel(link=name).values.max() for name in dataset.link.values}
    return Finding(
        below(softmax),
        limits=below(links),
        measured="prediction less target is the gradient of "
        + ", ".join(f"{name} (to {value:.1g})" for name, value in worst.items()),
    )


def _maxima(dataset):
    told = ", ".join(f"{n}: {m}" for n, m in zip(dataset.routine.values, dataset.maxima.values))
    return Finding(above(dataset.maxima, 1), measured=f"{told} (maxima in JAX's programs)")


def figures(dataset):
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
    figure.set_label(
        "Every probability of a softmax answers to every logit: the Jacobian is dense and symmetric, positive on the "
        "diagonal, negative off it, and its rows sum to 0."
    )
    return {"jacobian": figure}


claims = {
    "softmax-is-distribution": _is_distribution,
    "softmax-jacobian": _jacobian,
    "softmax-example-three-logits": _example,
    "log-sum-exp-identity": _logsumexp,
    "softmax-ce-gradient-p-minus-y": _less_target,
    "softmax-ce-gradient-componentwise": _componentwise,
    "ce-designed-to-pair-with-softmax": _links,
    "frameworks-shift-softmax-internally": _maxima,
}
