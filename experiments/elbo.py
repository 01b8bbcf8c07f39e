"""What does the evidence lower bound bound, what tightens it, and what does its direction of divergence do to a fit?

A linear-Gaussian model has all of it in closed form; normal posteriors of known correlation show what a mean-field
guide makes of them; a mixture of two parts shows which way the divergence looks; and a conjugate posterior holds
Metropolis's chains to its mean. A linear VAE, trained on the bound, has a best likelihood that is known.
"""

import numpy as np
import pydantic

from jaxcalc import lab, style
from jaxcalc.lab import Finding, Variable, above, below, close, jax, jnp, less

kind = "compiled"
_POINTS = 400  # of the linear VAE, in four dimensions


class Config(lab.Config):
    num_guides: int = pydantic.Field(50, ge=3)
    """random normal distributions held against the linear-Gaussian posterior"""
    groups: int = pydantic.Field(4096, ge=100)
    """of K draws, for each importance-weighted bound"""
    num_draws: tuple[int, ...] = (1, 4, 16, 64, 256)
    """K of those bounds"""
    correlations: tuple[float, ...] = (0.0, 0.3, 0.5, 0.7, 0.8, 0.9, 0.95, 0.99)
    """of the two variables of a normal posterior, above -1 and below 1"""
    separation: float = pydantic.Field(6.0, gt=0)
    """half the distance of the mixture's means, in standard deviations of its parts"""
    vae_steps: int = pydantic.Field(3000, ge=1)
    """steps of Adam on encoder and decoder"""
    chain_steps: int = pydantic.Field(50_000, ge=100)
    """steps of each of four Metropolis chains"""


VARIABLES = {
    "log_evidence": Variable((), "nat", "logarithm of the linear-Gaussian model's evidence"),
    "bound": Variable(("guide",), "nat", "evidence lower bound of a random guide"),
    "divergence": Variable(("guide",), "nat", "divergence of the posterior from it, KL(q || posterior)"),
    "num_draws": Variable(("count",), "", "draws K of an importance-weighted bound"),
    "weighted_bound": Variable(("count",), "nat", "importance-weighted bound of one poor guide"),
    "weighted_error": Variable(("count",), "nat", "its standard error"),
    "correlation": Variable(("correlation_index",), "", "correlation of a normal posterior's two variables"),
    "mean_field_sd": Variable(("correlation_index",), "", "standard deviation that the mean-field guide gives"),
    "corrected_sd": Variable(("correlation_index",), "", "standard deviation by its weighted draws"),
    "mean_field_khat": Variable(("correlation_index",), "", "k-hat of the guide's own draws"),
    "khat": Variable(("correlation_index",), "", "k-hat of the weights, wider draws among them"),
    "believed": Variable(("correlation_index",), "", "1 where the fit is believed, else 0"),
    "place": Variable(("place",), "", "where densities of the mixture are drawn"),
    "mixture": Variable(("place",), "", "density of a mixture of two normal distributions"),
    "seeking": Variable(("place",), "", "normal density that minimises KL(q || p)"),
    "covering": Variable(("place",), "", "normal density that minimises KL(p || q)"),
    "seeking_share": Variable((), "", "mass of the first beyond the point between the modes"),
    "covering_sd": Variable((), "", "standard deviation of the second"),
    "seeking_status": Variable((), "", "status of the first fit, an integer"),
    "seeking_khat": Variable((), "", "k-hat of its weights, wider draws among them"),
    "vae_step": Variable(("step",), "", "step of Adam on a linear VAE"),
    "vae_loss": Variable(("step",), "nat", "its negative evidence lower bound, per point, by one draw of each"),
    "vae_start": Variable((), "nat", "the same before the first step, by fixed draws"),
    "vae_end": Variable((), "nat", "and after the last"),
    "vae_best": Variable((), "nat", "least negative log-likelihood of any such model, per point: principal components"),
    "chain_mean": Variable((), "", "mean of the chains' draws of a success probability"),
    "chain_variance": Variable((), "", "their variance"),
    "chain_rhat": Variable((), "", "split R-hat of the chains"),
    "chain_size": Variable((), "", "effective sample size of all chains"),
}


def run(config, key):
    bound_key, normal_key, mixture_key, vae_key, chain_key = jax.random.split(key, 5)
    return {
        **_bounds(config, bound_key),
        **_correlated(config, normal_key),
        **_directions(config, mixture_key),
        **_linear_vae(config, vae_key),
        **_chains(config, chain_key),
    }


def _linear_gaussian():
    """Prior, likelihood of three observations, posterior and log evidence: z ~ N(0, 1), y = a z + noise."""
    from jaxcalc.functions.distributions import multivariate_normal, normal

    slope, noise = jnp.array([1.0, -0.5, 2.0]), 0.7
    y = jnp.array([0.3, -0.8, 1.1])
    precision = 1 + jnp.sum(slope**2) / noise**2
    posterior = normal(jnp.sum(slope * y) / noise**2 / precision, precision**-0.5)
    evidence = multivariate_normal(jnp.zeros(3), jnp.outer(slope, slope) + noise**2 * jnp.eye(3)).log_density(y)

    def expected_likelihood(q):
        """``E_q log p(y | z)``, in closed form."""
        residual = (y - slope * q.mean()) ** 2 + slope**2 * q.variance()
        return jnp.sum(-0.5 * residual / noise**2 - jnp.log(noise) - 0.5 * jnp.log(2 * jnp.pi))

    likelihood = lambda z: jnp.sum(normal(slope * z, noise).log_density(y))
    return normal(0.0, 1.0), likelihood, expected_likelihood, posterior, evidence


def _bounds(config, key):
    from jaxcalc.functions.distributions import kl, normal

    prior, likelihood, expected_likelihood, posterior, evidence = _linear_gaussian()
    mean_key, scale_key, draw_key = jax.random.split(key, 3)
    means = jax.random.normal(mean_key, (config.num_guides,), float)
    scales = jnp.exp(jax.random.normal(scale_key, (config.num_guides,), float))
    bound = lambda mean, scale: expected_likelihood(normal(mean, scale)) - kl(normal(mean, scale), prior)
    apart = lambda mean, scale: kl(normal(mean, scale), posterior)

    poor = normal(posterior.mean() + 0.3, 0.6)
    weight = lambda z: prior.log_density(z) + likelihood(z) - poor.log_density(z)

    def group(key, count):
        log_weights = jax.vmap(weight)(poor.sample(key, (count,)))
        return jax.scipy.special.logsumexp(log_weights) - jnp.log(count)

    keys = jax.random.split(draw_key, (len(config.num_draws), config.groups))
    groups = [jax.lax.map(lambda k, n=n: group(k, n), ks, batch_size=256) for ks, n in zip(keys, config.num_draws)]
    groups = jnp.stack(groups)
    return {
        "log_evidence": evidence,
        "bound": jax.vmap(bound)(means, scales),
        "divergence": jax.vmap(apart)(means, scales),
        "num_draws": jnp.array(config.num_draws),
        "weighted_bound": groups.mean(1),
        "weighted_error": groups.std(1, ddof=1) / jnp.sqrt(config.groups),
    }


def _correlated(config, key):
    from jaxcalc import variational

    def log_density(x, correlation):
        return -0.5 * (x @ x - 2 * correlation * x[0] * x[1]) / (1 - correlation**2)

    def fit(correlation):
        fitted = variational(log_density, "mean-field", jnp.zeros(2), correlation, key=key, num_starts=1)
        return fitted.guide_sd[0], fitted.sd[0], fitted.guide_khat, fitted.khat, fitted.believed

    correlation = jnp.array(config.correlations, float)
    names = ("mean_field_sd", "corrected_sd", "mean_field_khat", "khat", "believed")
    return {"correlation": correlation, **dict(zip(names, jax.lax.map(fit, correlation), strict=True))}


def _directions(config, key):
    from jaxcalc import variational
    from jaxcalc.functions.distributions import normal

    apart = config.separation
    log_density = lambda x: jnp.logaddexp(
        jnp.log(0.6) + normal(-apart, 1.0).log_density(x), jnp.log(0.4) + normal(apart, 1.0).log_density(x)
    )
    fitted = variational(log_density, "full-rank", jnp.array(0.0), key=key, num_starts=8)
    # Where KL(p || q) is least, q has the mean and the variance of p.
    mean, variance = -0.2 * apart, 1 + apart**2 * (1 - 0.2**2)
    place = jnp.linspace(-3 * apart, 3 * apart, 241)
    seeking = normal(fitted.guide_mean, fitted.guide_sd)
    return {
        "place": place,
        "mixture": jnp.exp(log_density(place)),
        "seeking": seeking.density(place),
        "covering": normal(mean, jnp.sqrt(variance)).density(place),
        "seeking_share": jnp.minimum(seeking.cdf(0.0), 1 - seeking.cdf(0.0)),
        "covering_sd": jnp.sqrt(variance),
        "seeking_status": fitted.status,
        "seeking_khat": fitted.khat,
    }


def _linear_vae(config, key):
    """A linear encoder and decoder fitted together, whose best likelihood is that of probabilistic components."""
    import optax

    from jaxcalc import minimize
    from jaxcalc.functions.distributions import kl, normal

    loading_key, latent_key, noise_key, init_key, fixed_key, step_key = jax.random.split(key, 6)
    loading = jax.random.normal(loading_key, (4, 2), float)
    points = jax.random.normal(latent_key, (_POINTS, 2), float) @ loading.T
    points += 0.3 * jax.random.normal(noise_key, points.shape, float)
    points -= points.mean(0)
    first, second = jax.random.split(init_key)
    begun = {
        "encoder": 0.1 * jax.random.normal(first, (2, 4), float),
        "log_spread": jnp.zeros(2),
        "decoder": 0.1 * jax.random.normal(second, (4, 2), float),
        "log_noise": jnp.zeros(()),
    }

    def negative_bound(params, noise):
        q = normal(points @ params["encoder"].T, jnp.exp(params["log_spread"]))
        z = q.mean() + jnp.exp(params["log_spread"]) * noise
        likelihood = normal(z @ params["decoder"].T, jnp.exp(params["log_noise"])).log_density(points)
        return jnp.mean(jnp.sum(kl(q, normal(0.0, 1.0)), -1) - jnp.mean(jnp.sum(likelihood, -1), 0))

    fixed = jax.random.normal(fixed_key, (256, _POINTS, 2), float)
    drawn = lambda key: (jax.random.normal(key, (1, _POINTS, 2), float),)
    choices = {"method": optax.adam(0.01), "batches": drawn, "key": step_key, "max_steps": config.vae_steps}
    fit = minimize(negative_bound, begun, fixed, history="full", **choices)
    values = jnp.linalg.eigvalsh(points.T @ points / _POINTS)
    left = values[:2].mean()
    best = 0.5 * (4 * jnp.log(2 * jnp.pi) + jnp.sum(jnp.log(values[2:])) + 2 * jnp.log(left) + 4)
    assert fit.history is not None
    loss = fit.history["value"]
    return {
        "vae_step": jnp.arange(loss.size),
        "vae_loss": loss,
        "vae_start": negative_bound(begun, fixed),
        "vae_end": fit.value,
        "vae_best": best,
    }


def _chains(config, key):
    """Random-walk Metropolis for a success probability: a uniform prior, 7 of 20, on the logit's line."""
    from jaxcalc.functions.mcmc_diagnostics import effective_sample_size, split_rhat

    log_density = lambda x: 8 * jax.nn.log_sigmoid(x) + 14 * jax.nn.log_sigmoid(-x)

    def step(x, key):
        move_key, accept_key = jax.random.split(key)
        proposed = x + jax.random.normal(move_key, x.shape, x.dtype)
        log_ratio = log_density(proposed) - log_density(x)
        accepted = jnp.log(jax.random.uniform(accept_key, x.shape, x.dtype)) < log_ratio
        x = jnp.where(accepted, proposed, x)
        return x, x

    start = jnp.array([-3.0, -1.0, 1.0, 3.0])
    _, path = jax.lax.scan(step, start, jax.random.split(key, config.chain_steps))
    kept = jax.nn.sigmoid(path[config.chain_steps // 10 :].T)
    return {
        "chain_mean": kept.mean(),
        "chain_variance": kept.var(),
        "chain_rhat": split_rhat(kept),
        "chain_size": effective_sample_size(kept),
    }


def figures(dataset):
    figure, axes = style.subplots(2, 2, width="page", height=5.0)
    (gap, tight), (narrow, ways) = axes
    _draw_gap(gap, dataset)
    _draw_tightening(tight, dataset)
    _draw_mean_field(narrow, dataset)
    _draw_directions(ways, dataset)
    figure.set_label(
        "How far the bounds of random normal guides of a linear-Gaussian model stay below the log evidence, against "
        "their divergence (dashed: equal); importance-weighted bounds of one guide, with two standard errors; "
        "standard deviations of a mean-field guide of a normal posterior of unit variances, and by its weighted draws "
        "(hollow: not believed), beside theory (dashed); the normal densities of least divergence "
        "from a mixture of two parts."
    )
    return {"elbo": figure}


def _draw_gap(ax, data):
    reach = np.array([float(data.divergence.min()), float(data.divergence.max())])
    ax.plot(reach, reach, **style.THEORY, label="equal")
    ax.plot(data.divergence, data.log_evidence - data.bound, "o", color=style.COLORS["blue"], ms=3, label="guides")
    ax.set(xscale="log", yscale="log", xlabel="KL(q || posterior) (nat)", ylabel="log evidence $-$ bound (nat)")
    ax.legend(loc="upper left", fontsize=6.5)


def _draw_tightening(ax, data):
    counts, values = data.num_draws.values, data.weighted_bound.values
    blue = style.COLORS["blue"]
    ax.errorbar(counts, values, 2 * data.weighted_error.values, fmt="o-", color=blue, ms=4, label="bound of K draws")
    ax.axhline(float(data.log_evidence), color=style.COLORS["grey"], lw=0.8, label="log evidence")
    ax.set(xscale="log", xlabel="draws K", ylabel="importance-weighted bound (nat)")
    ax.legend(loc="lower right", fontsize=6.5)


def _draw_mean_field(ax, data):
    rho = np.linspace(0, 1, 201)
    ax.plot(rho, np.sqrt(1 - rho**2), **style.THEORY, label=r"$\sqrt{1 - \rho^2}$")
    ax.plot(data.correlation, data.mean_field_sd, "o", color=style.COLORS["blue"], ms=4, label="mean-field guide")
    held = data.believed.values > 0.5
    orange = style.COLORS["orange"]
    rho, corrected = data.correlation.values, data.corrected_sd.values
    ax.plot(rho[held], corrected[held], "s", color=orange, ms=4, label="weighted, believed")
    ax.plot(rho[~held], corrected[~held], "s", color=orange, ms=4, mfc="none", mew=1.0, label="weighted, not believed")
    ax.set(ylim=(0, 1.2), xlabel=r"correlation $\rho$", ylabel="standard deviation (true: 1)")
    ax.legend(loc="lower left", fontsize=6.5)


def _draw_directions(ax, data):
    ax.fill_between(data.place, data.mixture, color="#D5D5D5", lw=0, label="posterior")
    ax.plot(data.place, data.seeking, color=style.COLORS["blue"], label="least KL(q || p): seeks a mode")
    ax.plot(data.place, data.covering, "--", color=style.COLORS["orange"], label="least KL(p || q): covers")
    ax.set(xlabel="x", ylabel="density", ylim=(0, 0.62))
    ax.legend(loc="upper left", fontsize=6.5)


def _identity(dataset):
    off = dataset.bound + dataset.divergence - dataset.log_evidence
    return Finding(
        close(off, 0.0) & above(dataset.divergence, 0.0),
        measured=f"residual {float(abs(off).max()):.1e} around log evidence {float(dataset.log_evidence):.4f}",
        figure="elbo",
    )


def _tightens(dataset):
    gap = dataset.log_evidence - dataset.weighted_bound
    noise = 4 * dataset.weighted_error
    rises = dataset.weighted_bound.diff("count")
    allowed = np.sqrt((noise.values[1:] ** 2) + (noise.values[:-1] ** 2))
    return Finding(
        above(rises + allowed, 0.0) & above(gap + noise, 0.0) & less(gap.isel(count=-1), gap.isel(count=0) / 5),
        measured=f"gap {float(gap[0]):.3f} nat with one draw, {float(gap[-1]):.4f} with {int(dataset.num_draws[-1])}",
        figure="elbo",
    )


def _conditional(dataset):
    theory = np.sqrt(1 - dataset.correlation**2)
    # The guide's draws number some 6,500: a deviation of 0.9 % is one standard error.
    off = dataset.mean_field_sd / theory - 1
    return Finding(
        below(abs(off), 0.035),
        measured=f"off by at most {100 * float(abs(off).max()):.1f} %; {float(dataset.mean_field_sd.min()):.3f} at "
        f"correlation {float(dataset.correlation.max()):g}",
        figure="elbo",
    )


def _told(dataset):
    """Of fits that are believed the corrected deviation is right; of those that are wrong none is believed."""
    off = abs(dataset.corrected_sd - 1)
    held = dataset.believed.values > 0.5
    return Finding(
        below(off.values[held], 0.15) & above(dataset.mean_field_khat.values[-1], 0.7),
        measured=f"{held.sum()} of {held.size} believed, off by at most {100 * float(off.values[held].max()):.1f} %; "
        f"the others by up to {100 * float(off.values[~held].max(initial=0)):.0f} %",
        figure="elbo",
    )


def _seeks(dataset):
    return Finding(
        less(dataset.seeking_share, 0.02) & above(dataset.covering_sd, 2.0),
        measured=f"{100 * float(dataset.seeking_share):.2g} % of the mass beyond the middle; "
        f"standard deviation {float(dataset.covering_sd):.2f} of the one that covers",
        figure="elbo",
    )


def _hidden_mode(dataset):
    from jaxcalc.solvers import VariationalStatus

    flagged = close(dataset.seeking_status, int(VariationalStatus.SEVERAL_MODES), 0.0)
    return Finding(
        flagged & less(dataset.seeking_khat, 0.7),
        measured=f"k-hat {float(dataset.seeking_khat):.2f}; told by another start",
    )


def _jointly(dataset):
    gap = dataset.vae_end - dataset.vae_best
    return Finding(
        # Draws of the bound leave it a few thousandths off; no bound lies beyond the best likelihood.
        close(gap) & above(gap, -0.01) & above(dataset.vae_start - dataset.vae_end, 1.0),
        measured=f"{float(dataset.vae_start):.2f} to {float(dataset.vae_end):.4f} nat; at best "
        f"{float(dataset.vae_best):.4f}",
    )


def _metropolis(dataset):
    # The posterior is a beta distribution of 8 and 14.
    variance = 8 * 14 / 22**2 / 23
    return Finding(
        close(dataset.chain_mean)
        & below(abs(dataset.chain_variance / variance - 1), 0.03)
        & less(dataset.chain_rhat, 1.01)
        & above(dataset.chain_size, 4000.0),
        measured=f"mean {float(dataset.chain_mean):.4f}, variance {float(dataset.chain_variance):.5f}, R-hat "
        f"{float(dataset.chain_rhat):.4f}, {float(dataset.chain_size):.0f} effective draws",
    )


claims = {
    "elbo-plus-kl-is-log-evidence": _identity,
    "importance-weighted-bound-tightens": _tightens,
    "mean-field-variance-is-conditional": _conditional,
    "khat-tells-narrow-guides": _told,
    "reverse-divergence-seeks-a-mode": _seeks,
    "khat-does-not-see-a-missed-mode": _hidden_mode,
    "vae-trains-encoder-and-decoder-jointly": _jointly,
    "mcmc-approximates-posterior-integrals": _metropolis,
}
