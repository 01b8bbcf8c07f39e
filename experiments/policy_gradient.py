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
    "kind": Variable(("kind",), "", "baseline that the theory is of"),
    "theory": Variable(("kind", "horizon"), "", "variance of one episode from all that may happen"),
    "recursion_gap": Variable(("horizon",), "", "gradient by a sum over all that may happen less that by recursion"),
}


def _episodes(config, horizon):
    """What an episode pays, its distribution by the logits, and the logits."""
    from jaxcalc.functions.decision_processes import Trajectories, total_reward, two_rooms

    process, logits = two_rooms(offset=config.offset), jnp.array([[0.3, -0.2], [0.1, -0.4]])
    return process, lambda x: total_reward(process, x), lambda logits: Trajectories(process, logits, horizon), logits


def _gradient(process, logits, horizon):
    from jaxcalc.functions.decision_processes import policy_value

    return jax.grad(lambda logits: policy_value(process, logits, horizon))(logits)


def run(config, key):
    from jaxcalc.transforms.expectation import expectation

    off, told = [], []
    for horizon in config.horizons:
        process, pays, law, logits = _episodes(config, horizon)
        choices = {"method": "score", "control_variate": config.baseline, "num_samples": config.episodes}
        found = expectation(pays, law, **choices, chunk_size=64).gradient()(key, logits)
        off.append(found.value - _gradient(process, logits, horizon))
        told.append(config.episodes * (found.standard_error**2).sum())
    return {"off": jnp.stack(off), "told": jnp.stack(told)}


def shared(config):
    """Variances and gradients from all that may happen."""
    from jaxcalc.functions.decision_processes import trajectories
    from jaxcalc.functions.gradient_variances import score_variance
    from jaxcalc.transforms.expectation import expectation

    def at(horizon):
        process, pays, law, logits = _episodes(config, horizon)
        atoms = trajectories(process, horizon)
        log_density = lambda x, logits: law(logits).log_density(x)

        # The atoms come as an argument, lest the compiler take them for constants to be folded.
        @jax.jit
        def table(atoms, logits):
            rows = jax.vmap(log_density, (0, None))
            scores = jax.jacrev(rows, 1)(atoms, logits).reshape(len(atoms), -1)
            return jnp.exp(rows(atoms, logits)), jax.vmap(pays)(atoms), scores

        summed = expectation(pays, log_density, support=atoms, method="sum")
        gap = abs(jax.grad(summed)(logits) - _gradient(process, logits, horizon)).max()
        probability, values, scores = table(atoms, logits)
        return [score_variance(probability, values, scores, kind) for kind in _LABELS], gap

    variances, gaps = zip(*map(at, config.horizons))
    return {
        "horizon": np.array(config.horizons),
        "kind": np.array(list(_LABELS)),
        "theory": np.array(variances, float).T,
        "recursion_gap": np.array(gaps, float),
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


def _theory(dataset):
    return dataset.theory.rename(kind="baseline")


def _mean(dataset):
    return over(dataset, "baseline", "seed").mean("seed", skipna=False)


def _as_theory(dataset):
    told = _mean(dataset).told
    ratio = told / _theory(dataset).sel(baseline=told.baseline)
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
        theory=_theory(dataset).sel(baseline=data.baseline.values),
        looks=_LABELS,
        linestyle="",
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
