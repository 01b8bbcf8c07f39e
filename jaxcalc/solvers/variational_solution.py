"""What variational inference returns: a guide, a posterior corrected by its weights, and whether to believe it."""

import enum
import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from jax.core import Tracer

from jaxcalc import checks
from jaxcalc.solvers.solution import Solution
from jaxcalc.solvers.weighted_moments import Moments, moments_of

__all__ = ["VariationalSolution", "VariationalStatus"]


class VariationalStatus(enum.IntEnum):
    """The gravest that is to be said of a fit; it is data, one integer a lane."""

    BELIEVED = 0
    """Weights are even enough, and their averages tell every mean and standard deviation."""
    FEW_DRAWS = 1
    """The weights would do, but their averages over so many draws are not yet as exact as they should be."""
    HEAVY_TAILS = 2
    """Some weights are so large that averages cannot be relied on."""
    NOT_OPTIMAL = 3
    """The bound could still be raised."""
    SEVERAL_MODES = 4
    """Another start led to a mode that the guide does not reach."""
    NONFINITE = 5
    """The log density is not a number where the guide has mass."""
    BAD_START = 6
    """The log density is not finite at the start."""


_WORDS = {
    VariationalStatus.BELIEVED: "believed: k-hat {khat:.2f} and that of every quantity, {worst:.2f} the worst, are "
    "at most {threshold:.2f}, or no weight is above ten times the average; the weights are worth "
    "{size:.0f} independent draws",
    VariationalStatus.FEW_DRAWS: "too few draws: k-hat {khat:.2f} is good, but the weights are worth {size:.0f} "
    "independent draws, which do not tell some mean to a thirtieth of its standard deviation or that one to a "
    "twentieth; raise num_samples, or take a richer guide",
    VariationalStatus.HEAVY_TAILS: "not to be believed: k-hat {khat:.2f}, or that of some quantity, {worst:.2f}, is "
    "above {threshold:.2f}: the guide misses mass of the posterior; {remedy}",
    VariationalStatus.NOT_OPTIMAL: "not at the optimum: a step could still raise the bound by some {gain:.2g} nats; "
    "raise max_steps or num_draws, start elsewhere, or scale the variables",
    VariationalStatus.SEVERAL_MODES: "several modes: another start leads to a place of similar bound that the guide "
    "does not reach, another mode or a funnel's neck; weights cannot tell what was never drawn. Break the symmetry, "
    "by supports such as ordered() say, write a hierarchy by standardised effects, or sample by several chains",
    VariationalStatus.NONFINITE: "not finite: the log density is not a number at {share:.1%} of the guide's draws; "
    "declare the support of constrained variables, or write it so that it is finite or -inf",
    VariationalStatus.BAD_START: "no start: the log density or its gradient is not finite there; start elsewhere",
}
_REMEDIES = {
    "mean-field": 'take guide "full-rank", or reparameterise so that the variables are less correlated',
    "low-rank": 'raise the rank or take guide "full-rank", or reparameterise',
}
_REMEDY = (
    "reparameterise (a hierarchy by standardised effects, scales by their logarithm), take a guide of a richer family, "
    "or sample by Markov chains"
)


@dataclass(frozen=True)
class VariationalSolution:
    """A fitted guide, the posterior by its weighted draws, and a verdict; under ``vmap`` lanes come first.

    ``like start`` is a PyTree shaped like the start.

    Args:
      mean, sd: of the posterior, by smoothed importance weights; like start.
      mean_error: their standard errors, of the mean alone; like start.
      guide_mean, guide_sd: of the guide itself; like start.
      guide_khat: of weights of the guide's own draws: whether the guide itself is near the posterior.
      khat: of the weights that the means are taken by. Normal guides are mixed with a share of wider draws for it,
        which bounds the weights.
      khats: of the weights times squared deviations, which standard deviations need; like start.
      threshold: what they may be at most for that many draws.
      reliable: whether an entry's mean and standard deviation are to be believed; like start.
      elbo, elbo_error: the evidence lower bound in nats by fresh draws, and its standard error.
      log_evidence: the importance-weighted bound with all draws, smoothed: above the ELBO, and near the logarithm of
        the evidence where k-hat is good.
      effective_size: how many independent draws of the posterior the weights are worth.
      improvement: nats that a step could still raise the bound by, of what was optimised.
      status: a ``VariationalStatus``, int32.
      draws: like start with a leading axis; log_weights: (S,), theirs, smoothed and normalised.
      invalid: the share of draws at which the log density is not a number; their weight is 0.
      params: the guide's parameters.
      fit: the ``Solution`` of the optimisation.
      guide: the family's name; static.
      num_own: how many draws, the first, are the guide's own; static.
    """

    mean: Any
    sd: Any
    mean_error: Any
    guide_mean: Any
    guide_sd: Any
    guide_khat: Array
    khat: Array
    khats: Any
    threshold: Array
    reliable: Any
    elbo: Array
    elbo_error: Array
    log_evidence: Array
    effective_size: Array
    improvement: Array
    status: Array
    draws: Any
    log_weights: Array
    invalid: Array
    params: Any
    fit: Solution
    guide: str
    num_own: int

    @property
    def believed(self) -> Array:
        """Whether all means and standard deviations are to be believed."""
        return self.status == VariationalStatus.BELIEVED

    def moments(self, fun: Callable[[Any], Any], *, of: Literal["posterior", "guide"] | str = "posterior") -> Moments:
        """Means and standard deviations of a function of x, with errors, k-hat and verdict.

        Args:
          fun: from x, like start, to an array or PyTree of real arrays.
          of: the posterior, by weights, or the guide as it is; of the latter ``reliable`` speaks of the draws alone.

        Raises:
          ValueError: for another word.
        """
        who = "VariationalSolution.moments"
        checks.function(who, fun)
        if checks.one_of(who, "of", of, ("posterior", "guide")) == "guide":
            own = jax.tree.map(lambda leaf: leaf[: self.num_own], self.draws)
            even = jnp.full(self.num_own, -math.log(self.num_own), self.log_weights.dtype)
            return moments_of(fun, own, even, jnp.asarray(-jnp.inf), jnp.asarray(True))
        sound = self.status < VariationalStatus.NOT_OPTIMAL
        return moments_of(fun, self.draws, self.log_weights, self.khat, sound)

    def sample(self, key: Array, num_samples: int) -> Any:
        """Draws of the posterior: the guide's, drawn again by their weights.

        Args:
          key: used once.
          num_samples: n.

        Returns:
          A PyTree like start with a leading axis of n.
        """
        checks.integer("VariationalSolution.sample", "num_samples", num_samples)
        chosen = jax.random.categorical(key, self.log_weights, shape=(num_samples,))
        return jax.tree.map(lambda leaf: leaf[chosen], self.draws)

    def quantile(self, q: Any) -> Any:
        """Quantiles of the posterior by the weights, like start.

        Args:
          q: between 0 and 1.
        """
        checks.number("VariationalSolution.quantile", "q", q, least=0, most=1)
        weights = jnp.exp(self.log_weights)

        def one(column: Array) -> Array:
            order = jnp.argsort(column)
            return jnp.interp(q, jnp.cumsum(weights[order]) - weights[order] / 2, column[order])

        return jax.tree.map(lambda leaf: _by_column(one, leaf), self.draws)

    def explain(self) -> str:
        """The verdict, its remedy, and how far the guide's own deviations are off; for lanes, how many had which."""
        if isinstance(self.status, Tracer):
            raise TypeError("VariationalSolution.explain needs numbers; call it outside jit and vmap.")
        status = np.asarray(self.status)
        lines = []
        for kind in VariationalStatus:
            where = np.flatnonzero(status.ravel() == kind)
            if where.size:
                words = _WORDS[kind].format(**self._numbers(where, status), remedy=_REMEDIES.get(self.guide, _REMEDY))
                lines.append(words if status.ndim == 0 else f"{where.size} of {status.size} lanes {words}")
        if np.any(status == VariationalStatus.BELIEVED):
            lines.append(self._correction(status))
        return "\n".join(lines)

    def _numbers(self, where: np.ndarray, status: np.ndarray) -> dict[str, float]:
        """Of the worst lane of a kind."""
        flat = lambda value: np.broadcast_to(np.asarray(value), status.shape).ravel()[where]
        worst = [np.asarray(leaf).reshape(status.size, -1)[where].max() for leaf in jax.tree.leaves(self.khats)]
        return {
            "khat": flat(self.khat).max(),
            "worst": max(worst),
            "threshold": flat(self.threshold).min(),
            "size": flat(self.effective_size).min(),
            "gain": flat(self.improvement).max(),
            "share": flat(self.invalid).max(),
        }

    def _correction(self, status: np.ndarray) -> str:
        """How far the guide itself is off, which its weights put right."""
        kept = status.ravel() == VariationalStatus.BELIEVED

        def largest(change: Any, *trees: Any) -> float:
            leaves = zip(*map(jax.tree.leaves, trees), strict=True)
            return max(float(np.max(change(*map(np.asarray, each)).reshape(kept.size, -1)[kept])) for each in leaves)

        shift = largest(lambda own, mean, sd: abs(own - mean) / sd, self.guide_mean, self.mean, self.sd)
        ratio = largest(lambda own, sd: abs(own / sd - 1), self.guide_sd, self.sd)
        return (
            f"The guide's own means are up to {shift:.2g} standard deviations from those by weights, its standard "
            f"deviations up to {100 * ratio:.2g} %: take mean and sd, or sample, which are by weights."
        )


def _by_column(one: Any, leaf: Array) -> Array:
    return jax.vmap(one, 1)(leaf.reshape(leaf.shape[0], -1)).reshape(leaf.shape[1:])


jax.tree_util.register_dataclass(
    VariationalSolution,
    data_fields=[name for name in VariationalSolution.__dataclass_fields__ if name not in ("guide", "num_own")],
    meta_fields=["guide", "num_own"],
)
