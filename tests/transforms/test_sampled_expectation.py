"""Estimators of gradients beside closed forms and quadrature; laws of grad, jit and vmap; refusals."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxcalc.functions.distributions import bernoulli, exponential, normal, poisson, uniform
from jaxcalc.functions.gradient_variances import gradient_variance
from jaxcalc.transforms.expectation import expectation
from jaxcalc.transforms.sampled_expectation import Pilot
from tests.tolerance import assert_close

KEY = jax.random.key(3)
square = lambda x: (x - 0.5) ** 2
shifted = lambda mean: normal(mean, 1.0)


def gradient(fun, distribution, method, control="none", num_samples=4096, argnums=0, **choices):
    expected = expectation(
        fun, distribution, method=method, control_variate=control, num_samples=num_samples, **choices
    )
    return jax.jit(expected.gradient(argnums))


ALL = [
    ("reparameterised", "none"),
    ("reparameterised", "local-linear"),
    ("score", "none"),
    ("score", "constant"),
    ("score", "leave-one-out"),
    ("score", "local-linear"),
    ("measure-valued", "none"),
    ("finite-difference", "none"),
]


@pytest.mark.parametrize(("method", "control"), ALL)
def test_gradient_and_its_variance(x64, method, control):
    """2 D and the closed form of the variance, at D = 0.7; the derivative by jax.grad is the same number."""
    expected = expectation(square, shifted, method=method, control_variate=control, num_samples=4096)

    @jax.jit
    def run(mean):
        return expected.gradient()(KEY, mean), jax.value_and_grad(lambda mean: expected(KEY, mean).value)(mean)

    found, (value, slope) = run(1.2)
    assert abs(found.value - 1.4) < 4 * found.standard_error
    theory = 4.0 if method == "reparameterised" else gradient_variance(method, control, 0.7, 1.0)
    # Terms of the order of a cube of normal numbers: of so many the variance is known to 10 %. The question of the
    # gallery holds it to 3 %.
    np.testing.assert_allclose(4096 * found.standard_error**2, theory, rtol=0.35)
    assert_close(slope, found.value, 4096)
    assert abs(value - (0.49 + 1)) < 0.15


FAMILIES = {
    "normal": (normal, (0.3, 1.2), lambda x: x**3, lambda m, s: m**3 + 3 * m * s**2),
    "exponential": (exponential, (1.3,), lambda x: x**2, lambda rate: 2 / rate**2),
    "uniform": (uniform, (0.0, 2.0), lambda x: x**2, lambda low, high: (high**3 - low**3) / (3 * (high - low))),
    "bernoulli": (bernoulli, (0.3,), lambda x: 3.0 * x, lambda p: 3 * p),
    "poisson": (poisson, (2.0,), lambda x: 1.0 * x**2, lambda rate: rate + rate**2),
}


@pytest.mark.parametrize("family", FAMILIES)
def test_weak_derivatives_of_families(x64, family):
    distribution, args, fun, exact = FAMILIES[family]
    argnums = tuple(range(len(args)))
    found = gradient(fun, distribution, "measure-valued", argnums=argnums)(KEY, *args)
    for value, error, right in zip(found.value, found.standard_error, jax.grad(exact, argnums)(*args)):
        assert abs(value - right) <= 4 * error + 1e-12


@pytest.mark.parametrize("method", ["score", "measure-valued"])
def test_jumps_and_whole_numbers_have_gradients(x64, method):
    """P(X > 0) has the normal density for its slope, which no derivative through draws sees."""
    step = gradient(lambda x: jnp.where(x > 0, 1.0, 0.0), shifted, method)(KEY, 0.4)
    assert abs(step.value - normal(0.0, 1.0).density(0.4)) < 4 * step.standard_error
    counted = gradient(lambda x: 1.0 * x**2, poisson, method)(KEY, 2.0)
    assert abs(counted.value - 5.0) < 4 * counted.standard_error


def test_components_of_a_batch_are_independent(x64):
    """By the four means and the one scale of sum_i i x_i^2, in dimension 4."""
    weights = jnp.arange(1.0, 5.0)
    exact = jax.grad(lambda mean, scale: weights @ (mean**2 + scale**2), (0, 1))(weights / 4, 0.8)
    for method in ("reparameterised", "score", "measure-valued", "finite-difference"):
        found = gradient(lambda x: weights @ x**2, normal, method, argnums=(0, 1))(KEY, weights / 4, 0.8)
        for value, error, right in zip(found.value, found.standard_error, exact):
            assert value.shape == right.shape
            assert (abs(value - right) < 4.5 * error).all(), method


def test_what_fun_closes_over_and_second_derivatives(x64):
    """d/da and d2/dm2 of E[a X^2] = a (m^2 + 1) at a = 3, m = 0.5; where there is no second derivative, an error."""

    def value(method, a, mean):
        expected = expectation(lambda x: a * x**2, shifted, method=method, control_variate="none", num_samples=65536)
        return expected(KEY, mean).value

    for method in ("reparameterised", "score"):
        by_a, twice = jax.jit(
            lambda a, m, method=method: (
                jax.grad(value, 1)(method, a, m),
                jax.grad(jax.grad(value, 2), 2)(method, a, m),
            )
        )(3.0, 0.5)
        np.testing.assert_allclose([by_a, twice], [1.25, 6.0], rtol=0.1)
    assert abs(jax.grad(value, 1)("measure-valued", 3.0, 0.5) - 1.25) < 0.05
    with pytest.raises(NotImplementedError, match="first derivatives only"):
        jax.grad(jax.grad(value, 2), 2)("measure-valued", 3.0, 0.5)


def test_pytrees_and_lanes(x64):
    expected = expectation(
        lambda x: {"first": x, "both": jnp.stack([x, x**2])}, shifted, method="score", control_variate="constant",
        num_samples=2048,
    )  # fmt: skip
    means = jnp.asarray([0.0, 0.5])
    keys = jax.random.split(KEY, 2)
    found = jax.jit(jax.vmap(expected.gradient()))(keys, means)
    assert found.value["both"].shape == (2, 2)
    exact = jnp.stack([jnp.ones(2), 2 * means], axis=1)
    assert (abs(found.value["both"] - exact) < 4.5 * found.standard_error["both"]).all()


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class Coin:
    """A law of one's own: two coins of one logit."""

    logit: jax.Array

    def sample(self, key):
        return jax.random.bernoulli(key, jax.nn.sigmoid(self.logit), (2,)).astype(int)

    def log_density(self, x):
        return jnp.sum(jax.nn.log_sigmoid(jnp.where(x == 1, self.logit, -self.logit)))


def test_laws_of_ones_own_beside_enumeration(x64):
    """The gradient of E[x_1 x_2] = p^2 by the score, by differences, and exactly, by a sum over all outcomes."""
    product = lambda x: 1.0 * x[0] * x[1]
    outcomes = np.array([[0.0, 0], [0, 1], [1, 0], [1, 1]])
    summed = expectation(product, lambda x, logit: Coin(logit).log_density(x), support=outcomes, method="sum")
    exact = jax.grad(summed)(0.3)
    p = jax.nn.sigmoid(0.3)
    assert_close(exact, 2 * p * p * (1 - p), 64)
    found = gradient(product, Coin, "score", "leave-one-out")(KEY, 0.3)
    assert abs(found.value - exact) < 4 * found.standard_error
    # Common random numbers over a jump: the wider the step, the less the variance.
    wide = gradient(product, Coin, "finite-difference", step=0.1, num_samples=16384)(KEY, 0.3)
    assert abs(wide.value - exact) < 4 * wide.standard_error < 0.1


def test_the_pilot_says_why(x64):
    expected = expectation(square, shifted, num_samples=4096, control_variate="none")
    pilot = expected.pilot(KEY, 0.6)
    assert isinstance(pilot, Pilot)
    assert pilot.method == "measure-valued" and pilot.control_variate == "none"
    assert pilot.candidates == (("reparameterised", "none"), ("score", "none"), ("measure-valued", "none"))
    theory = [gradient_variance(*pair, 0.1, 1.0) for pair in pilot.candidates]
    np.testing.assert_allclose(pilot.variance, theory, rtol=0.5)
    assert "chosen" in pilot.table() and "measure-valued" in pilot.explain() and "predicted" in pilot.explain()
    assert pilot.explain() in str(pilot)
    # Far away the derivative through draws is the better one; a gradient follows the pilot, traced or not.
    assert expected.pilot(KEY, 40.0).method == "reparameterised"
    slope = lambda mean: jax.grad(lambda mean: expected(KEY, mean).value)(mean)
    assert_close(slope(0.6), jax.jit(slope)(0.6), 4096)
    assert abs(slope(0.6) - 0.2) < 0.1


def test_the_pilot_sees_a_jump(x64):
    """A derivative through draws is 0 without variance there: not the best, but wrong."""
    jump = lambda x: jnp.where(x > 0, 1.0, 0.0)
    pilot = expectation(jump, shifted, num_samples=1024, control_variate="local-linear").pilot(KEY, 0.4)
    assert pilot.method != "reparameterised" and not np.isfinite(pilot.product[0])
    assert "standard errors off the score" in pilot.table()
    counts = expectation(lambda x: 1.0 * x, poisson, num_samples=1024).pilot(KEY, 2.0)
    assert "not offered: no derivative goes through draws" in counts.table()


@pytest.mark.parametrize(
    ("fun", "law", "args", "choices", "says"),
    [
        (square, normal, (), {"method": "pathwise"}, "method must be"),
        (square, normal, (), {"control_variate": "baseline"}, "control_variate must be"),
        (square, normal, (), {"support": (0, 1)}, "support, num_points and tol are of quadrature"),
        (square, normal, (), {"step": 0.1}, "step is of method='finite-difference'"),
        (square, poisson, (2.0,), {"method": "reparameterised"}, "no derivative goes through draws of int"),
        (square, uniform, (), {"method": "score"}, "support depends on the parameters"),
        (square, Coin, (0.3,), {"method": "measure-valued"}, "no weak derivatives of Coin"),
        (square, normal, (), {"method": "reparameterised", "control_variate": "constant"}, "changes nothing but"),
        (square, poisson, (2.0,), {"method": "score", "control_variate": "local-linear"}, "real vectors with a mean"),
        (square, normal, (0.0, -1.0), {}, "normal: std must be finite and above 0"),
        (
            square,
            normal,
            (),
            {"method": "score", "control_variate": "leave-one-out", "num_samples": 40},
            "multiple of 16",
        ),
    ],
)
def test_refusals(fun, law, args, choices, says):
    with pytest.raises(ValueError, match=says):
        expectation(fun, law, **{"num_samples": 32, **choices})(KEY, *args)


def test_draws_and_quadrature_are_told_apart():
    with pytest.raises(ValueError, match="give num_samples"):
        expectation(square, normal, method="score")
    with pytest.raises(ValueError, match="are of draws"):
        expectation(square, normal, control_variate="constant")
    with pytest.raises(TypeError, match="must return a Distribution"):
        expectation(square, lambda mean: mean, num_samples=32)(KEY, 0.0)


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class Nowhere:
    """A law whose log density is not a number."""

    mean_of: jax.Array

    def sample(self, key):
        return self.mean_of + jax.random.normal(key)

    def log_density(self, x):
        return jnp.log(-1.0 - (x - self.mean_of) ** 2)


def test_a_log_density_that_is_none():
    expected = expectation(square, Nowhere, method="score", control_variate="none", num_samples=32)
    with pytest.raises(ValueError, match="log density at a draw of the distribution itself must be finite, got nan"):
        expected(KEY, 0.0)
    assert jnp.isnan(jax.jit(expected)(KEY, 0.0).value)
    # A scale that is negative and traced: the draws are numbers, their density is not.
    through = expectation(
        square, lambda s: normal(0.0, s), method="reparameterised", control_variate="none", num_samples=32
    )
    assert jnp.isnan(jax.jit(through)(KEY, -1.0).value)
