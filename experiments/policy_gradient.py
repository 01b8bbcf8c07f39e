"""Is the score function's policy gradient right, is its variance what theory says, and what does a baseline save?

Two rooms, one of which pays more; a softmax policy. The value follows by recursion, the gradient's variance from all
that may happen: with the whole return, and with a baseline taken off.
"""

from typing import Literal

import numpy as np
import pydantic

from jaxcalc import lab, style
from jaxcalc.lab import Finding, Variable, below, close, jax, jnp, less, over, params

kind = "compiled"
_CHANCE = 4.0  # a hundred comparisons stay below 4 standard deviations in 199 of 200 experiments, if all is well
_LABELS = {
    "none": {"color": "#D55E00", "marker": "s", "label": "no baseline"},
    "constant": {"color": "#E69F00", "marker": "v", "label": "best constant"},
    "leave-one-out": {"color": "#000000", "marker": "P", "label": "leave-one-out"},
}


class Config(lab.Config):
    baseline: Literal["none", "constant", "leave-one-out"] = "none"
    """taken off the return"""
    horizons: tuple[pydantic.PositiveInt, ...] = pydantic.Field((1, 2, 3, 4, 5, 6), min_length=3)
    """steps of an episode"""
    episodes: int = pydantic.Field(1024, ge=32, multiple_of=16)
    """of one estimate"""
    offset: float = 1.0
    """what every step pays, which no action changes"""


VARIABLES = {
    "horizon": Variable(("horizon",), "", "steps of an episode"),
    "off": Variable(("horizon", "state", "action"), "", "estimate less gradient, by the policy's logits"),
    "told": Variable(
        ("horizon",), "", "variance of one episode, summed over the logits, as the standard errors have it"
    ),
    "theory": Variable(("horizon",), "", "the same from all that may happen"),
    "recursion_gap": Variable(("horizon",), "", "gradient by a sum over all that may happen less that by recursion"),
}


def _logits():
    return jnp.array([[0.3, -0.2], [0.1, -0.4]])


def run(config, key):
    rows = [_at(config, horizon, key) for horizon in config.horizons]
    stacked = {name: jnp.stack([row[name] for row in rows]) for name in rows[0]}
    return {"horizon": jnp.array(config.horizons), **stacked}


def _at(config, horizon, key):
    from jaxcalc.functions.decision_processes import Trajectories, policy_value, total_reward, trajectories, two_rooms
    from jaxcalc.functions.gradient_variances import score_variance
    from jaxcalc.transforms.expectation import expectation

    process, logits = two_rooms(offset=config.offset), _logits()
    law = lambda logits: Trajectories(process, logits, horizon)
    pays = lambda x: total_reward(process, x)
    expected = expectation(
        pays,
        law,
        method="score",
        control_variate=config.baseline,
        num_samples=config.episodes,
        chunk_size=64,
    )
    found = expected.gradient()(key, logits)
    exact = jax.grad(lambda logits: policy_value(process, logits, horizon))(logits)
    atoms = jnp.asarray(trajectories(process, horizon))
    summed = expectation(pays, lambda x, logits: law(logits).log_density(x), support=atoms, method="sum")
    log_density = jax.vmap(lambda x, logits: law(logits).log_density(x), (0, None))
    probability, scores = jnp.exp(log_density(atoms, logits)), jax.jacrev(log_density, 1)(atoms, logits)
    values = jax.vmap(pays)(atoms)
    return {
        "off": found.value - exact,
        "told": config.episodes * (found.standard_error**2).sum(),
        "theory": score_variance(probability, values, scores.reshape(len(atoms), -1), config.baseline),
        "recursion_gap": abs(jax.grad(summed)(logits) - exact).max(),
    }


def _unbiased(dataset):
    data = over(dataset, "baseline", "seed")
    chance = data.off.std("seed", ddof=1, skipna=False) / np.sqrt(data.sizes["seed"])
    worst = abs(data.off.mean("seed", skipna=False)) / chance
    episodes = params(dataset)["episodes"] * data.sizes["seed"]
    return Finding(
        below(worst, _CHANCE),
        measured=f"at most {float(worst.max()):.2f} standard errors at {episodes:.3g} episodes, "
        f"{worst.size} comparisons",
    )


def _mean(dataset):
    return over(dataset, "baseline", "seed").mean("seed", skipna=False)


def _as_theory(dataset):
    data = _mean(dataset)
    ratio = data.told / data.theory
    return Finding(
        close(ratio, 1.0, 0.03), measured=f"variance over theory {float(ratio.min()):.4f} to {float(ratio.max()):.4f}"
    )


def _saves(dataset):
    told = _mean(dataset).told
    gain = told.sel(baseline="none") / told.sel(baseline=["constant", "leave-one-out"])
    return Finding(
        less(1.0, gain),
        measured=", ".join(
            f"{name}: {float(gain.sel(baseline=name).min()):.2f} to {float(gain.sel(baseline=name).max()):.2f} times"
            for name in ("constant", "leave-one-out")
        ),
    )


def _exact(dataset):
    return Finding(below(dataset.recursion_gap, 1e-12))


def figures(dataset):
    data = over(dataset, "baseline", "seed")
    figure, _ = style.chart(
        data.told,
        "horizon",
        hue="baseline",
        theory=data.theory.mean("seed"),
        looks=_LABELS,
        log="y",
        xlabel="steps of an episode",
        ylabel="variance of one episode",
        legend="above",
        width="column",
        height=3.0,
    )
    figure.set_label(
        "Variance of one episode's estimate of the policy gradient, summed over the policy's logits; two rooms, every "
        f"step pays {params(dataset)['offset']:g} or more. Dashed: from all that may happen."
    )
    return {"variance": figure}


claims = {
    "policy-gradient-is-unbiased": _unbiased,
    "policy-gradient-variance-is-as-theory": _as_theory,
    "baseline-cuts-policy-variance": _saves,
    "policy-gradient-by-enumeration": _exact,
}
