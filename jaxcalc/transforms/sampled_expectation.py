"""Expectations by draws: which estimator of the gradient, its standard error, and the pilot that chooses one."""

import itertools
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, get_args

import jax
import jax.numpy as jnp
import numpy as np
from jax.core import Tracer

from jaxcalc import checks
from jaxcalc.programs.cost import cost
from jaxcalc.programs.speed import device
from jaxcalc.transforms.gradient_estimators import (
    GROUP,
    ControlVariate,
    EstimatorMethod,
    estimator,
    joint_log_density,
    refusal,
    score,
)
from jaxcalc.transforms.sampling import Estimate, named_sample_mean
from jaxcalc.transforms.tables import columns, in_seconds

__all__ = ["Pilot", "SampledExpectation", "sampled"]

_WHO = "expectation"
_PILOT = 512  # draws of each candidate, and of the constant
# Means that lie farther apart are not those of one number; a hundred comparisons pass by chance.
_APART = 5.0
_JUDGES = "the score, or pairs"
_UNBIASED = ("reparameterised", "score", "measure-valued")
_Candidate = tuple[str, str]
_Derive = Callable[[Callable[..., Any]], Callable[..., Any]]


@dataclass(frozen=True)
class Pilot:
    """What a few draws of each estimator say, and which one follows from it.

    Args:
      candidates: pairs of method and control variate.
      variance: of one draw of the gradient, summed over its entries, shape ``(k,)``.
      seconds: predicted time of one draw of each.
      apart: how many standard errors its mean is off that of the score, or of measure-valued pairs where there is no
        score, at most over the entries, shape ``(k,)``; 0 where there is neither.
      product: variance times seconds, infinite for candidates that disagree or are not finite, shape ``(k,)``.
      refused: candidates that the distribution does not have, with the reason.
    """

    candidates: tuple[_Candidate, ...]
    variance: jax.Array
    seconds: tuple[float, ...]
    apart: jax.Array
    product: jax.Array
    refused: tuple[tuple[_Candidate, str], ...] = ()

    @property
    def chosen(self) -> jax.Array:
        """The position of the least product."""
        return jnp.argmin(self.product)

    @property
    def method(self) -> str:
        """The chosen method, as ``method=`` takes it."""
        return self.candidates[int(self.chosen)][0]

    @property
    def control_variate(self) -> str:
        """The chosen control variate, as ``control_variate=`` takes it."""
        return self.candidates[int(self.chosen)][1]

    def table(self) -> str:
        """All candidates, one a line: method, control variate, variance, time, their product, verdict."""
        rows: list[Sequence[str]] = [("method", "control variate", "variance", "a draw", "product", "verdict")]
        for i, candidate in enumerate(self.candidates):
            word = "chosen" if i == int(self.chosen) else ""
            if not np.isfinite(self.product[i]):
                word = f"left out: {float(self.apart[i]):.3g} standard errors off {_JUDGES}"
            variance, product = f"{float(self.variance[i]):.3g}", f"{float(self.product[i]):.3g}"
            rows.append((*candidate, variance, in_seconds(self.seconds[i]), product, word))
        rows += [(*candidate, "", "", "", f"not offered: {reason}") for candidate, reason in self.refused]
        return columns(rows, left=(0, 1, 5))

    def explain(self) -> str:
        """One sentence of why."""
        product, first = np.asarray(self.product), int(self.chosen)
        name = lambda i: f"{self.candidates[i][0]} (control variate: {self.candidates[i][1]})"
        if not np.isfinite(product[first]):
            return f"{_WHO}: no candidate has a finite variance and agrees with {_JUDGES}; {name(first)} is taken."
        others = [i for i in range(len(product)) if i != first and np.isfinite(product[i])]
        if not others:
            return f"{_WHO}: {name(first)}, the only candidate."
        second = min(others, key=lambda i: product[i])
        variance = np.asarray(self.variance)
        told = [
            f"{variance[first]:.3g} of variance a draw for {variance[second]:.3g}",
            f"{in_seconds(self.seconds[first])} predicted for {in_seconds(self.seconds[second])}",
        ]
        return f"{_WHO}: {name(first)}, beside {name(second)}: {'; '.join(told)}."

    def __str__(self) -> str:
        return f"{self.table()}\n{self.explain()}"


@dataclass(frozen=True)
class SampledExpectation:
    """An expectation by draws, ``expected(key, *args) -> Estimate``, and its gradient; made by ``expectation``.

    Args:
      fun, distribution, method, control_variate, num_samples, chunk_size, step: as for ``expectation``.

    Cost:
      A call outside of ``jax.jit`` is compiled each time, with the pilot of ``"auto"``: seconds. What is called more
      than once belongs in ``jax.jit``, where a call takes its draws alone.
    """

    fun: Callable[[Any], Any]
    distribution: Callable[..., Any]
    method: str
    control_variate: str
    num_samples: int
    chunk_size: int
    step: float | None

    def __call__(self, key: jax.Array, *args: Any) -> Estimate:
        """The mean of ``fun`` over draws, with its standard error.

        Args:
          key: a random key, used once.
          args: of the distribution.

        Raises:
          ValueError: for an estimator that the distribution does not have, or a log density that is not finite.
        """
        return self._estimate(lambda draw: draw, key, args)

    def gradient(self, argnums: int | Sequence[int] = 0) -> Callable[..., Estimate]:
        """``(key, *args) -> Estimate`` of the gradient, like what ``jax.jacrev(fun_of_args, argnums)`` returns.

        Its value is what ``jax.grad`` of this expectation's value gives for the same key.
        """

        def derive(draw):
            return lambda key, *args: jax.jacrev(lambda *args: draw(key, *args), argnums)(*args)

        return lambda key, *args: self._estimate(derive, key, args)

    def pilot(self, key: jax.Array, *args: Any) -> Pilot:
        """What ``"auto"`` decides by, for the same key and arguments.

        Args:
          key, args: as for a call.

        Raises:
          ValueError: as a call does.
        """
        return self._pilot(jax.random.split(key)[0], args, *self._candidates(key, args))

    def _candidates(self, key, args) -> tuple[list[_Candidate], list[tuple[_Candidate, str]]]:
        """Estimators that the distribution has, and those that it has not with the reason."""
        law = self.distribution(*args)
        if not (hasattr(law, "sample") and hasattr(law, "log_density")):
            raise TypeError(
                f"{_WHO}: with num_samples the second argument must return a Distribution, or what has sample(key) and "
                f"log_density(x), got {type(law).__name__}. For a log density leave num_samples out."
            )
        x = jax.eval_shape(law.sample, key)
        methods = _UNBIASED if self.method == "auto" else (self.method,)
        controls = get_args(ControlVariate) if self.control_variate == "auto" else (self.control_variate,)
        asked = list(itertools.product(methods, controls))
        reasons = {pair: refusal(*pair, law, x) for pair in asked}
        offered = [pair for pair in asked if not reasons[pair] and self._is_grouped(pair)]
        if not offered:
            raise ValueError(
                f"{_WHO}: method={self.method!r} is not offered: {reasons[asked[0]] or 'see num_samples'}."
            )
        # Baselines that change nothing are no candidates, rather than refused ones.
        told = [(p, why) for p, why in reasons.items() if why and p[1] in ("none", self.control_variate)]
        return offered, told

    def _is_grouped(self, pair: _Candidate) -> bool:
        """Whether the draws come in whole groups; where leave-one-out was asked for, its own error says so."""
        fits = self.num_samples % GROUP == 0 and self.num_samples >= 2 * GROUP
        return pair[1] != "leave-one-out" or self.control_variate == "leave-one-out" or fits

    def _estimate(self, derive: _Derive, key, args) -> Estimate:
        trial, key = jax.random.split(key)
        candidates, refused = self._candidates(key, args)
        ways = [lambda pair=pair: self._by(pair, derive, key, args) for pair in candidates]
        if len(ways) == 1:
            found = ways[0]()
        else:
            chosen = self._pilot(trial, args, candidates, refused).chosen
            found = jax.lax.switch(chosen, ways) if isinstance(chosen, Tracer) else ways[int(chosen)]()
        return self._unless_misplaced(trial, args, found)

    def _by(self, pair: _Candidate, derive: _Derive, key, args) -> Estimate:
        draw, evaluations, key = self._draw(pair, derive, key, args)
        return named_sample_mean(_WHO, draw, self.num_samples, self.chunk_size, evaluations)(key, *args)

    def _draw(self, pair: _Candidate, derive: _Derive, key, args):
        """One draw of an estimator or of its derivative, the evaluations it takes, and the key for many."""
        method, control = pair
        first, second = jax.random.split(key)
        baseline = self._baseline(first, args) if control == "constant" else None
        core = estimator(self.fun, method, control, self.step)
        draw = derive(lambda key, *args: core(key, self.distribution(*args), baseline))
        return draw, GROUP if control == "leave-one-out" else 1, second

    def _baseline(self, key, args):
        """``E[f s^2] / E[s^2]``, which makes the summed variance of ``(f - b) s`` least."""
        floats, whole = _floats(args)

        def moments(key, *floats):
            law = self.distribution(*whole(floats))
            x = law.sample(key)
            slopes = jax.grad(lambda floats: score(self.distribution(*whole(floats)), x))(floats)
            weight = sum((jnp.sum(each**2) for each in slopes), start=jnp.zeros(())) if floats else jnp.ones(())
            return jax.tree.map(lambda y: y * weight, self.fun(x)), weight

        top, bottom = _mean_and_spread(moments, _PILOT, key, floats)[0]
        return jax.lax.stop_gradient(jax.tree.map(lambda y: y / bottom, top))

    def _pilot(self, key, args, candidates, refused) -> Pilot:
        args = jax.lax.stop_gradient(args)
        floats, whole = _floats(args)

        def derive(draw):
            if not floats:
                return draw
            at = lambda key, floats: draw(key, *whole(floats))
            return lambda key, *args: jax.jacrev(at, 1)(key, _floats(args)[0])

        def few(pair, key, args):
            draw, evaluations, key = self._draw(pair, derive, key, args)
            return _mean_and_spread(draw, _PILOT // evaluations, key, args)

        priced = [cost(lambda key, args, pair=pair: few(pair, key, args)[0], key, args) for pair in candidates]
        seconds = tuple(device().seconds(price, within=True) / _PILOT for price in priced)
        # One program for all, which draw the same numbers.
        told = jax.lax.stop_gradient(
            jax.jit(lambda key, args: [few(pair, key, args) for pair in candidates])(key, args)
        )
        variance = jnp.stack([_PILOT * _total(spread, jnp.square) for _, spread in told])
        # The score asks nothing of f, nor do pairs where the support moves and there is no score.
        methods = [method for method, _ in candidates]
        judge = next((methods.index(name) for name in ("score", "measure-valued") if name in methods), None)
        apart = jnp.stack([jnp.zeros(()) if judge is None else _apart(*each, *told[judge]) for each in told])
        # No variance is told better than by rounding, so that of exact estimators the fastest is taken.
        eps = float(jnp.finfo(variance.dtype).eps)
        floor = eps * jnp.stack([_total(mean, jnp.square) for mean, _ in told]).max() + eps**2
        product = jnp.maximum(variance, floor) * jnp.asarray(seconds, variance.dtype)
        product = jnp.where(jnp.isfinite(variance) & (apart <= _APART), product, jnp.inf)
        return Pilot(tuple(candidates), variance, seconds, apart, product, tuple(refused))

    def _unless_misplaced(self, key, args, found: Estimate) -> Estimate:
        """The estimate, where the distribution's own draw has a finite log density; else an error, or NaN if traced."""
        law = jax.lax.stop_gradient(self.distribution(*args))
        told = joint_log_density(law, law.sample(key))
        if not isinstance(told, Tracer):
            if not np.isfinite(told):
                raise ValueError(
                    f"{_WHO}: the log density at a draw of the distribution itself must be finite, got {told}. Are the "
                    "parameters in range, and are sample and log_density of one distribution?"
                )
            return found
        bad = jnp.where(jnp.isfinite(told), 1, jnp.nan)
        unless = lambda tree: jax.tree.map(lambda y: y * bad.astype(y.dtype), tree)
        return Estimate(unless(found.value), unless(found.standard_error), found.num_samples, found.degrees_of_freedom)


def sampled(
    fun: Any, distribution: Any, method: Any, control_variate: Any, num_samples: Any, chunk_size: Any, step: Any
) -> SampledExpectation:
    """``expectation`` by draws, its choices checked."""
    checks.function(_WHO, fun)
    checks.function(_WHO, distribution, "distribution")
    checks.one_of(
        _WHO, "method", method, ("auto", *get_args(EstimatorMethod)), remedy="Quadrature takes no num_samples."
    )
    checks.one_of(_WHO, "control_variate", control_variate, ("auto", *get_args(ControlVariate)))
    num_samples = checks.integer(_WHO, "num_samples", num_samples, least=2, remedy="One sample has no standard error.")
    chunk_size = checks.integer(_WHO, "chunk_size", chunk_size)
    if step is not None:
        checks.number(_WHO, "step", step, above=0)
        if method != "finite-difference":
            raise ValueError(f"{_WHO}: step is of method='finite-difference', got method={method!r}.")
    return SampledExpectation(fun, distribution, method, control_variate, num_samples, chunk_size, step)


def _floats(args: Any) -> tuple[list[Any], Callable[[Sequence[Any]], tuple[Any, ...]]]:
    """The floating-point leaves of arguments, and what puts others in their place."""
    leaves, structure = jax.tree.flatten(args)
    at = [i for i, leaf in enumerate(leaves) if jnp.issubdtype(jnp.result_type(leaf), jnp.floating)]

    def whole(floats):
        place = dict(zip(at, floats))
        return jax.tree.unflatten(structure, [place.get(i, leaf) for i, leaf in enumerate(leaves)])

    return [jnp.asarray(leaves[i]) for i in at], whole


def _total(tree: Any, fun: Callable[[Any], Any]) -> jax.Array:
    return sum((jnp.sum(fun(leaf)) for leaf in jax.tree.leaves(tree)), start=jnp.zeros(()))


def _mean_and_spread(draw: Callable[..., Any], count: int, key: jax.Array, args: Sequence[Any]) -> tuple[Any, Any]:
    """The mean of so few draws that they are held at once, and its standard error."""
    values = jax.vmap(draw, (0, *(None for _ in args)))(jax.random.split(key, count), *args)
    mean = jax.tree.map(lambda y: jnp.mean(y, 0), values)
    return mean, jax.tree.map(lambda y: jnp.std(y, 0, ddof=1) / count**0.5, values)


def _apart(one: Any, first: Any, other: Any, second: Any) -> jax.Array:
    """The distance of two means in standard errors, at most over the entries."""

    def entry(a, b, first, second):
        eps = jnp.finfo(a.dtype).eps
        spread = jnp.sqrt(first**2 + second**2 + eps * (a**2 + b**2) + jnp.finfo(a.dtype).tiny)
        return jnp.max(abs(a - b) / spread, initial=0)

    return jnp.stack(jax.tree.leaves(jax.tree.map(entry, one, other, first, second))).max()
