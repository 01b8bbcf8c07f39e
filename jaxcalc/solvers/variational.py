"""Variational inference: the member of a family nearest to a posterior, and whether to believe it."""

import functools
import math
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from jax.core import Tracer
from jax.flatten_util import ravel_pytree

from jaxcalc import checks
from jaxcalc.functions.bijections import Bijection, real
from jaxcalc.functions.pareto import khat_threshold, pareto_khat, smooth_log_weights
from jaxcalc.solvers.guides import GUIDES, Guide, LocalNormal
from jaxcalc.solvers.local_normal import DENSE, Candidate, best_on_the_way
from jaxcalc.solvers.minimize import minimize
from jaxcalc.solvers.solution import Solution
from jaxcalc.solvers.variational_solution import VariationalSolution, VariationalStatus
from jaxcalc.solvers.weighted_moments import columns, light_and_exact, moments, unpacked
from jaxcalc.transforms.guards import sending
from jaxcalc.transforms.program_cache import program

__all__ = ["variational"]

_BATCH = 256
"""Densities evaluated side by side where thousands are."""
_PATH_DRAWS = 32
_GAIN = 0.01
"""Nats: a bound that could still rise by more is not at its optimum."""
_RIVAL = 5.0
"""Nats below the best bound from which on another mode does not count."""
_WIDE, _FREEDOM = 0.2, 5
"""The share of draws from the guide with the tails of Student's t of so many degrees of freedom."""
_INVALID = 0.01
"""The share of draws that may be no number: far out, a solve may fail where the posterior has no mass."""


@sending
def variational(
    log_density: Callable[..., Any],
    guide: str | Guide,
    start: Any,
    /,
    *args: Any,
    key: Array,
    support: Any = None,
    method: Any = "saa",
    num_draws: int = 256,
    num_importance: int = 1,
    num_samples: int = 8192,
    num_starts: int = 12,
    max_steps: int = 1000,
    tol: float | None = None,
) -> VariationalSolution:
    """A posterior by optimisation, and whether to believe it.

        ELBO(q) = E_q[log p(x, data) - log q(x)] = log p(data) - KL(q, posterior)

    Three stages: Newton steps from several starts give a normal approximation, in whose coordinates the guide is then
    fitted; fresh draws of the guide are weighed by ``p / q``. Their smoothed weights correct the means and standard
    deviations, and their k-hat tells whether that can be relied on. A fit is ``believed`` if k-hat of the weights and
    of each quantity is at most ``min(1 - 1 / log10 S, 0.7)`` (of weights none of which is above ten times their average
    it may be anything: then there is no tail), the standard errors are at most a thirtieth of a standard
    deviation (of means) and a twentieth (of those), the bound is at its optimum, and no other start led to a mode of
    similar bound out of the guide's reach. A mode that no start leads to is not seen.

    Args:
      log_density: ``log_density(x, *args) -> scalar``: of prior times likelihood, normalised or not.
      guide: ``"mean-field"``, ``"full-rank"``, ``"low-rank"``, or a ``Guide`` of ``jaxcalc.solvers``.
      start: x to begin with, an array or PyTree of real numbers within the support.
      args: data, passed on: PyTrees of arrays.
      key: used once; by lanes for several runs.
      support: where x is constrained: a bijection of ``jaxcalc.functions.bijections`` for each leaf, or for a part of
        the tree; keys of a dictionary that are left out are real. The density stays that of x: the volume is added.
      method: ``"saa"``, the bound of fixed draws (whose mean and covariance are exactly those of the noise) by L-BFGS
        to its optimum; or the name of a first-order method of ``minimize``, or an optax transformation, with fresh
        draws in each step.
      num_draws: n, of the bound, for every step; of a full-rank guide at least ``2 d``.
      num_importance: K; above 1 the objective is the importance-weighted bound, ``E log mean_K p / q``, of n / K
        groups.
      num_samples: S, fresh draws that are weighed in the end.
      num_starts: how many: the given one, and others uniformly within 2 of it, where x is unconstrained.
      max_steps: of the optimisation.
      tol: relative stationarity, as of ``minimize``; by default 1e-3, in float32 3e-3: the
        guide's parameters are scaled to size 1.

    Returns:
      A ``VariationalSolution``. Under ``jit`` and ``vmap`` nothing is raised that depends on numbers: ``status`` tells.

    Raises:
      TypeError: if ``log_density`` does not return a real scalar; for arguments of another kind.
      ValueError: for unknown names, a start outside the support or where the log density is not finite, a guide of
        another dimension, scales that are not positive, or too few draws.

    Cost: per start up to 100 Hessians; ``num_draws`` gradients a step; ``num_samples`` densities. A repeated call with
      the same function, shapes and choices does not trace again.
    Source: Kucukelbir and others, "Automatic differentiation variational inference", JMLR 18, 2017; Burda, Grosse and
      Salakhutdinov, "Importance weighted autoencoders", ICLR 2016; Yao, Vehtari, Simpson and Gelman, "Yes, but did it
      work?", ICML 2018; Giordano, Ingram and Broderick, "Black box variational inference with a deterministic
      objective", JMLR 25, 2024.
    """
    who = "variational"
    checks.function(who, log_density, "log_density")
    guide = _guide(who, guide)
    bijections = _bijections(who, support, start)
    x0 = _unconstrained(who, start, bijections)
    d = sum(math.prod(leaf.shape) for leaf in x0)
    checks.arrays(who, "args", args)
    noise = _noise_size(who, guide, d)
    num_importance = checks.integer(who, "num_importance", num_importance)
    # Where the draws' second moments are to be exact there must be more of them than numbers in each.
    least = max(2 * noise if guide.name != "mean-field" else 2, 2 * num_importance)
    num_draws = checks.integer(who, "num_draws", num_draws, least=least, remedy="Fewer do not hold the guide.")
    checks.integer(who, "num_samples", num_samples, least=100, remedy="Their tail is to be told.")
    checks.integer(who, "num_starts", num_starts)
    checks.integer(who, "max_steps", max_steps)
    if num_draws % num_importance:
        raise ValueError(f"{who}: num_importance must divide num_draws, got {num_importance} and {num_draws}.")
    tol = checks.tolerance(who, "tol", _tolerance(x0[0].dtype) if tol is None else tol)
    static = _Static(guide, method, num_draws, num_importance, num_samples, num_starts, max_steps)

    def make(give: Callable[[], Callable[..., Any]]) -> Callable[..., VariationalSolution]:
        return jax.jit(functools.partial(_fitted, static, jax.tree.structure(start), give))

    structure = jax.tree.structure(start)
    solution = program(log_density, (static, structure), make)(x0, bijections, args, key, tol)
    if not isinstance(solution.status, Tracer) and np.any(solution.status == VariationalStatus.BAD_START):
        raise ValueError(
            f"{who}: log_density must be finite at the start, with a finite gradient, got {_shown(start)}. "
            "Start elsewhere, or declare the support."
        )
    return solution


class _Static(NamedTuple):
    """What a program is compiled for, beside the function."""

    guide: Guide
    method: Any
    num_draws: int
    num_importance: int
    num_samples: int
    num_starts: int
    max_steps: int


class _Space(NamedTuple):
    """The unconstrained vector and what it stands for.

    Args:
      constrain: ``(d,) -> (leaves of x, log volume)``.
      log_density: ``(d,) -> scalar``, of the vector, the volume included.
    """

    constrain: Callable[[Array], tuple[list[Array], Array]]
    log_density: Callable[[Array], Array]


def _fitted(
    static: _Static,
    structure: Any,
    give: Callable[[], Callable[..., Any]],
    x0: list[Array],
    bijections: list[Bijection],
    args: tuple[Any, ...],
    key: Array,
    tol: Any,
) -> VariationalSolution:
    """The whole of it, as one program."""
    density = give()
    flat, unravel = ravel_pytree(x0)

    def constrain(vector: Array) -> tuple[list[Array], Array]:
        pairs = [(b.forward(leaf), b.log_det(leaf)) for b, leaf in zip(bijections, unravel(vector), strict=True)]
        return [y for y, _ in pairs], sum((volume for _, volume in pairs), jnp.zeros((), vector.dtype))

    def log_density(vector: Array) -> Array:
        leaves, volume = constrain(vector)
        value = density(jax.tree.unflatten(structure, leaves), *args)
        return checks.returns_scalar("variational", value, name="log_density").astype(vector.dtype) + volume

    space = _Space(constrain, log_density)
    start_key, draw_key, judge_key = jax.random.split(key, 3)
    first = jax.value_and_grad(log_density)(flat)
    good = jax.tree.reduce(jnp.logical_and, jax.tree.map(lambda leaf: jnp.isfinite(leaf).all(), first))
    candidates = _candidates(static, log_density, flat, start_key)
    near = jax.tree.map(lambda leaf: leaf[jnp.argmax(candidates.elbo)], candidates.near)
    fit, improvement = _optimised(static, log_density, near, draw_key, tol)
    return _judged(static, structure, space, near, fit, improvement, candidates, good, judge_key)


def _candidates(static: _Static, log_density: Callable[[Array], Array], flat: Array, key: Array) -> Candidate:
    """A normal approximation from each start, stacked."""
    d, scale = flat.size, static.guide.scale
    if scale is not None:
        spread = jnp.broadcast_to(jnp.asarray(scale, flat.dtype), (d,))
        return jax.tree.map(lambda leaf: leaf[None], Candidate(LocalNormal(flat, spread, spread), jnp.zeros(())))
    shift_key, noise_key = jax.random.split(key)
    shifts = jax.random.uniform(shift_key, (static.num_starts, d), flat.dtype, -2.0, 2.0).at[0].set(0.0)
    if d <= DENSE:
        noise = _matched(jax.random.normal(noise_key, (_PATH_DRAWS // 2, d), flat.dtype))
        return jax.lax.map(lambda x: best_on_the_way(log_density, x, noise), flat + shifts)

    def diagonal_normal(x: Array) -> Candidate:
        from jaxcalc.transforms import diagonal

        mode = minimize(lambda x: -log_density(x), x, max_steps=200).x
        curvature = jnp.abs(diagonal(log_density)(mode))
        spread = 1 / jnp.sqrt(jnp.maximum(curvature, jnp.finfo(x.dtype).eps))
        return Candidate(LocalNormal(mode, spread, spread), log_density(mode) + jnp.sum(jnp.log(spread)))

    return jax.lax.map(diagonal_normal, flat + shifts)


def _matched(half: Array) -> Array:
    """Draws and their negatives, scaled so that every variance is 1: bounds of quadratics are then nearly exact."""
    half = half / jnp.sqrt(jnp.mean(half**2, axis=0))
    return jnp.concatenate([half, -half])


def _fixed_draws(key: Array, num_draws: int, size: int, dtype: Any, whole: bool) -> Array:
    """Noise of mean 0 and (where there are enough) of covariance 1 to rounding: the bound of a quadratic is exact."""
    half = jax.random.normal(key, (num_draws // 2, size), dtype)
    if whole:
        root = jnp.linalg.cholesky(half.T @ half / half.shape[0])
        half = jax.scipy.linalg.solve_triangular(root, half.T, lower=True).T
        return jnp.concatenate([half, -half])
    return _matched(half)


def _optimised(
    static: _Static, log_density: Callable[[Array], Array], near: LocalNormal, key: Array, tol: Any
) -> tuple[Solution, Array]:
    """The guide's parameters of largest bound, and the nats that a step could still add."""
    guide, dtype = static.guide, near.location.dtype
    size = guide.num_noise(near.location.size)
    # The constant does not matter to the optimum, but to the digits and to what a relative tolerance means.
    base = jax.lax.stop_gradient(log_density(near.location) + near.log_volume())

    def negative_bound(params: Any, noise: Array) -> Array:
        x, log_q = jax.vmap(lambda z: guide.push(params, near, z))(noise)
        log_p = jax.vmap(log_density)(x) - base
        if static.num_importance > 1:
            groups = (log_p - log_q).reshape(-1, static.num_importance)
            return -jnp.mean(jax.scipy.special.logsumexp(groups, axis=1) - math.log(static.num_importance))
        if guide.entropy is None:
            return -jnp.mean(log_p - log_q)
        return -jnp.mean(log_p) - guide.entropy(params, near)

    fixed_key, shuffle_key, step_key, fresh_key = jax.random.split(key, 4)
    whole = static.num_draws // 2 > size
    draws = _fixed_draws(fixed_key, static.num_draws, size, dtype, whole)
    if static.num_importance > 1:
        # A draw and its negative belong to different groups.
        draws = jax.random.permutation(shuffle_key, draws)
    begun = guide.init(near)
    choices: dict[str, Any] = {"tol": tol, "max_steps": static.max_steps}
    if isinstance(static.method, str) and static.method == "saa":
        fit = minimize(negative_bound, begun, draws, method="l-bfgs", **choices)
        return fit, _gain(jax.grad(negative_bound)(fit.x, draws))
    fresh = lambda key: (jax.random.normal(key, (static.num_draws, size), dtype),)
    fit = minimize(negative_bound, begun, draws, method=static.method, batches=fresh, key=step_key, **choices)
    # By several batches that no step has seen, so that noise can be told from slope.
    slopes = jax.lax.map(lambda key: jax.grad(negative_bound)(fit.x, *fresh(key)), jax.random.split(fresh_key, 16))
    noise = jax.tree.reduce(jnp.add, jax.tree.map(lambda leaf: jnp.sum(leaf.var(0, ddof=1)) / 16, slopes))
    return fit, jnp.maximum(_gain(jax.tree.map(lambda leaf: leaf.mean(0), slopes)) - 0.5 * noise, 0)


def _gain(slope: Any) -> Array:
    """Nats that a Newton step would add: parameters are scaled so that the curvature is about 1."""
    return 0.5 * jax.tree.reduce(jnp.add, jax.tree.map(lambda leaf: jnp.sum(leaf**2), slope))


def _judged(
    static: _Static,
    structure: Any,
    space: _Space,
    near: LocalNormal,
    fit: Solution,
    improvement: Array,
    candidates: Candidate,
    good: Array,
    key: Array,
) -> VariationalSolution:
    """Fresh draws, their weights, and the verdict."""
    guide, count = static.guide, static.num_samples
    noise, own = _judging_noise(static, near, key)
    top = guide.push(fit.x, near, jnp.zeros_like(noise[0]))[1]

    def weigh(z: Array) -> tuple[Array, Array, Array, list[Array]]:
        x, log_q = guide.push(fit.x, near, z)
        log_p = space.log_density(x)
        drawn = _log_mixture(log_q, top, x.size) if guide.normal else log_q
        return x, log_p - log_q, log_p - drawn, space.constrain(x)[0]

    vectors, ratios, drawn_ratios, leaves = jax.lax.map(weigh, noise, batch_size=_BATCH)
    invalid = jnp.mean(jnp.isnan(drawn_ratios), dtype=ratios.dtype)
    log_weights, khat = smooth_log_weights(drawn_ratios)
    draws = columns(leaves)
    told = moments(draws, log_weights, khat)
    light, exact = light_and_exact(told, khat, jnp.max(log_weights), count)
    optimal = improvement <= _GAIN
    rival = _has_rival(vectors[:own], candidates)
    verdicts = [
        (~good, VariationalStatus.BAD_START),
        (~(invalid <= _INVALID) | ~jnp.isfinite(told.mean).all(), VariationalStatus.NONFINITE),
        (rival, VariationalStatus.SEVERAL_MODES),
        (~optimal, VariationalStatus.NOT_OPTIMAL),
        (~light.all(), VariationalStatus.HEAVY_TAILS),
        (~exact.all(), VariationalStatus.FEW_DRAWS),
    ]
    status = jnp.asarray(int(VariationalStatus.BELIEVED), jnp.int32)
    for holds, kind in reversed(verdicts):
        status = jnp.where(holds, jnp.int32(kind), status)
    sound = status < VariationalStatus.NOT_OPTIMAL
    like = functools.partial(unpacked, structure, leaves)
    return VariationalSolution(
        mean=like(told.mean),
        sd=like(told.sd),
        mean_error=like(told.mean_error),
        guide_mean=like(draws[:own].mean(0)),
        guide_sd=like(draws[:own].std(0, ddof=1)),
        guide_khat=pareto_khat(ratios[:own]),
        khat=khat,
        khats=like(told.khat),
        threshold=jnp.asarray(khat_threshold(count), draws.dtype),
        reliable=like(told.reliable & sound),
        elbo=jnp.mean(ratios[:own]),
        elbo_error=jnp.std(ratios[:own], ddof=1) / math.sqrt(own),
        log_evidence=_log_evidence(drawn_ratios, log_weights),
        effective_size=1 / jnp.sum(jnp.exp(2 * log_weights)),
        improvement=improvement,
        status=status,
        draws=jax.tree.unflatten(structure, leaves),
        log_weights=log_weights,
        invalid=invalid,
        params=fit.x,
        fit=fit,
        guide=guide.name,
        num_own=own,
    )


def _judging_noise(static: _Static, near: LocalNormal, key: Array) -> tuple[Array, int]:
    """Noise for the draws that judge, and how many of them, the first, are the guide's own; the rest are spread wide.

    Weights of a normal guide have no bound where the posterior has heavier tails: a few of what the guide hardly ever
    draws weigh most. In a mixture with a wider one they have.
    """
    size, dtype = static.guide.num_noise(near.location.size), near.location.dtype
    normal_key, wide_key = jax.random.split(key)
    noise = jax.random.normal(normal_key, (static.num_samples, size), dtype)
    if not static.guide.normal:
        return noise, static.num_samples
    wide = int(_WIDE * static.num_samples)
    squares = jnp.mean(jax.random.normal(wide_key, (wide, _FREEDOM), dtype) ** 2, axis=1)
    own = static.num_samples - wide
    return noise.at[own:].divide(jnp.sqrt(squares)[:, None]), own


def _log_mixture(log_q: Array, top: Array, d: int) -> Array:
    """The log density of what is drawn, from that of the normal guide and its largest value.

    Source: Hesterberg, "Weighted average importance sampling and defensive mixture distributions", Technometrics 37,
      1995.
    """
    lgamma, nu = math.lgamma, _FREEDOM
    constant = lgamma((nu + d) / 2) - lgamma(nu / 2) + d / 2 * math.log(2 / nu)
    log_t = top + constant - (nu + d) / 2 * jnp.log1p(2 * (top - log_q) / nu)
    return jnp.logaddexp(math.log(1 - _WIDE) + log_q, math.log(_WIDE) + log_t)


def _log_evidence(ratios: Array, log_weights: Array) -> Array:
    """The logarithm of the mean weight. Smoothing moves the tail alone: the body tells the constant taken out."""
    ratios = jnp.where(jnp.isnan(ratios), -jnp.inf, ratios)
    body = jnp.argsort(ratios)[ratios.size // 2]
    return ratios[body] - log_weights[body] - math.log(ratios.size)


def _has_rival(vectors: Array, candidates: Candidate) -> Array:
    """Whether another start's approximation has about the best bound and lies beyond the guide."""
    d = vectors.shape[1]
    centre = vectors.mean(0)
    apart = candidates.near.location - centre
    if d <= DENSE:
        scale = vectors.std(0)
        scaled = (vectors - centre) / scale
        root = jnp.linalg.cholesky(scaled.T @ scaled / vectors.shape[0])
        squares = jnp.sum(jax.scipy.linalg.solve_triangular(root, (apart / scale).T, lower=True) ** 2, axis=0)
    else:
        squares = jnp.sum((apart / vectors.std(0)) ** 2, axis=1)
    # Beyond where normal draws lie: mean d and variance 2 d.
    beyond = squares > d + 4 * math.sqrt(2 * d) + 8
    # The best one is what the guide began from, wherever it has gone since.
    others = jnp.arange(candidates.elbo.size) != jnp.argmax(candidates.elbo)
    return jnp.any(others & beyond & (candidates.elbo >= jnp.max(candidates.elbo) - _RIVAL))


# -- arguments -----------------------------------------------------------------------------------------------------


def _guide(who: str, guide: str | Guide) -> Guide:
    if isinstance(guide, Guide):
        return guide
    return GUIDES[checks.one_of(who, "guide", guide, GUIDES, also="a Guide")]()


def _noise_size(who: str, guide: Guide, d: int) -> int:
    """How much noise the guide takes, if it is one over vectors of that size."""
    if isinstance(guide.scale, tuple):
        checks.shaped(who, "the guide's scale", (len(guide.scale),), d)
    size = guide.num_noise(d)
    vector: Any = jax.ShapeDtypeStruct((d,), float)
    near = LocalNormal(vector, vector, vector)
    noise = jax.ShapeDtypeStruct((size,), float)
    x, log_q = jax.eval_shape(lambda near, noise: guide.push(guide.init(near), near, noise), near, noise)
    checks.shaped(who, "what the guide draws", x.shape, d)
    checks.shaped(who, "the guide's log density", log_q.shape)
    return size


def _bijections(who: str, support: Any, start: Any) -> list[Bijection]:
    """One for each leaf of the start."""
    checks.not_empty(who, "start", start, "Pass where to begin.")
    whole = lambda part, b: jax.tree.map(lambda _: b, part)
    if support is None:
        return [real() for _ in jax.tree.leaves(start)]
    if isinstance(support, Mapping) and isinstance(start, Mapping):
        strange = [name for name in support if name not in start]
        if strange:
            raise ValueError(f"{who}: support names {strange[0]!r}, but start has {', '.join(map(repr, start))}.")
        support = {name: support.get(name, real()) for name in start}
    is_leaf = lambda node: isinstance(node, Bijection)
    try:
        full = jax.tree.map(lambda b, part: whole(part, b), support, start, is_leaf=is_leaf)
    except ValueError as error:
        raise ValueError(f"{who}: support must be a part of start's tree, from the top. {error}") from error
    leaves = jax.tree.leaves(full, is_leaf=is_leaf)
    if len(leaves) != len(jax.tree.leaves(start)) or not all(map(is_leaf, leaves)):
        raise TypeError(f"{who}: support must hold bijections of jaxcalc.functions.bijections, got {support!r}.")
    return leaves


def _unconstrained(who: str, start: Any, bijections: list[Bijection]) -> list[Array]:
    """The start's leaves without constraint, of one dtype."""
    leaves = [checks.real_array(who, "start", leaf) for leaf in jax.tree.leaves(checks.arrays(who, "start", start))]
    dtype = jnp.result_type(*leaves)
    for b, leaf in zip(bijections, leaves, strict=True):
        finite = isinstance(leaf, Tracer) or bool(jnp.isfinite(leaf).all())
        if not finite:
            raise ValueError(f"{who}: start must be finite, got {_shown(start)}.")
        if not isinstance(leaf, Tracer) and not leaf.size:
            raise ValueError(f"{who}: start must hold no empty array, got shape {leaf.shape} for {b.kind.name}.")
    return [b.inverse(leaf.astype(dtype)) for b, leaf in zip(bijections, leaves, strict=True)]


def _tolerance(dtype: Any) -> float:
    # A thousandth of a standard deviation: less would be lost in what adaptive solves, say, leave of a density.
    return 1e-3 if jnp.finfo(dtype).bits > 32 else 3e-3


def _shown(tree: Any) -> str:
    return str(jax.tree.map(np.asarray, tree))
