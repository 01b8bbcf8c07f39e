"""Normal posteriors to rounding, corrected means by quadrature, verdicts on what cannot be believed, refusals."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
import scipy.integrate
import scipy.special

from jaxcalc import variational
from jaxcalc.functions.bijections import ordered, positive, simplex
from jaxcalc.solvers import Guide, VariationalStatus, full_rank, low_rank, mean_field
from tests.tolerance import assert_close

pytestmark = pytest.mark.usefixtures("x64")
COVARIANCE = np.array([[1.0, 0.8, 0.0], [0.8, 1.0, 0.3], [0.0, 0.3, 4.0]])
PRECISION = np.linalg.inv(COVARIANCE)
FEW = {"num_samples": 1000, "num_starts": 1, "num_draws": 64}


def gaussian(x, mean):
    return -0.5 * (x - mean) @ jnp.asarray(PRECISION, x.dtype) @ (x - mean)


def log_gamma(x):
    """A gamma distribution of shape 3 and rate 2, of a positive number."""
    return 2 * jnp.log(x["scale"]) - 2 * x["scale"]


def fit(density, guide, start, *args, seed=0, **choices):
    return variational(density, guide, start, *args, key=jax.random.key(seed), **{**FEW, **choices})


@pytest.fixture(scope="module")
def normal_fits():
    with jax.enable_x64(True):
        mean = jnp.array([1.0, -2.0, 3.0])
        return {guide: fit(gaussian, guide, jnp.zeros(3), mean) for guide in ("full-rank", "mean-field")}


def test_a_normal_posterior_is_found_to_rounding(normal_fits):
    found = normal_fits["full-rank"]
    evidence = 1.5 * np.log(2 * np.pi) + 0.5 * np.log(np.linalg.det(COVARIANCE))
    # The weights of the guide's own draws are all one.
    assert_close(found.elbo, evidence, 1e4)
    assert float(found.elbo_error) < 1e-10 and found.believed and found.status == VariationalStatus.BELIEVED
    assert float(found.log_evidence) == pytest.approx(evidence, abs=0.02)
    np.testing.assert_allclose(found.mean, [1, -2, 3], atol=5 * np.max(found.mean_error))
    np.testing.assert_allclose(found.sd, np.sqrt(np.diag(COVARIANCE)), rtol=0.15)
    assert found.fit.success and "believed" in found.explain()


def test_a_mean_field_guide_has_the_conditional_variances(normal_fits):
    found = normal_fits["mean-field"]
    spread = np.sqrt(1 / np.diag(PRECISION))
    np.testing.assert_allclose(found.guide_sd, spread, rtol=0.1)
    bound = 1.5 * np.log(2 * np.pi) + np.sum(np.log(spread))
    assert abs(float(found.elbo) - bound) < 5 * float(found.elbo_error)
    assert not found.believed and float(found.guide_khat) > float(found.threshold)


def test_low_rank_of_full_rank_is_full_rank(normal_fits):
    found = fit(gaussian, low_rank(2), jnp.zeros(3), jnp.array([1.0, -2.0, 3.0]))
    # A diagonal and two columns hold a covariance of three variables with a zero in it.
    assert float(found.elbo) == pytest.approx(float(normal_fits["full-rank"].elbo), abs=0.02)
    np.testing.assert_allclose(found.guide_sd, np.sqrt(np.diag(COVARIANCE)), rtol=0.1)


def test_weights_correct_a_skewed_posterior_by_quadrature():
    found = fit(log_gamma, "full-rank", {"scale": 1.0}, support={"scale": positive()}, num_samples=4000)
    assert found.believed, found.explain()
    assert abs(float(found.mean["scale"]) - 1.5) < 4 * float(found.mean_error["scale"])
    assert float(found.sd["scale"]) == pytest.approx(np.sqrt(0.75), rel=0.08)
    assert float(found.log_evidence) == pytest.approx(scipy.special.gammaln(3) - 3 * np.log(2), abs=0.05)
    assert float(found.elbo) < float(found.log_evidence)
    # E log x, by quadrature.
    weighted = lambda x: np.log(x) * x**2 * np.exp(-2 * x) * 4
    exact, _ = scipy.integrate.quad(weighted, 0, 40)
    told = found.moments(lambda x: jnp.log(x["scale"]))
    assert abs(float(told.mean) - exact) < 4 * float(told.mean_error) and told.reliable
    assert float(found.quantile(0.5)["scale"]) == pytest.approx(1.337, abs=0.06)
    drawn = found.sample(jax.random.key(5), 500)["scale"]
    assert drawn.shape == (500,) and float(drawn.mean()) == pytest.approx(1.5, abs=0.15)


def test_supports_of_vectors():
    def density(x):  # Dirichlet(2, 3, 4), and two ordered normal numbers
        return jnp.sum(jnp.array([1.0, 2.0, 3.0]) * jnp.log(x["share"])) - 0.5 * jnp.sum(x["cut"] ** 2)

    start = {"share": jnp.full(3, 1 / 3), "cut": jnp.array([-1.0, 1.0])}
    support = {"share": simplex(), "cut": ordered()}
    found = fit(density, "full-rank", start, support=support, num_samples=4000)
    np.testing.assert_allclose(found.mean["share"], np.array([2, 3, 4]) / 9, atol=0.02)
    # The larger of two has the mean 1 / sqrt(pi).
    np.testing.assert_allclose(found.mean["cut"], np.array([-1, 1]) / np.sqrt(np.pi), atol=0.06)
    assert found.khats["share"].shape == (3,)


def test_two_modes_are_told_by_other_starts():
    density = lambda x: jnp.logaddexp(-0.5 * (x - 5) ** 2, -0.5 * (x + 5) ** 2)
    found = fit(density, "full-rank", jnp.array(0.5), num_starts=8)
    assert found.status == VariationalStatus.SEVERAL_MODES and not found.believed
    assert not found.reliable and "another start" in found.explain()


def test_heavy_tails_are_told():
    # Of a Cauchy distribution the normal's wider draws, of 5 degrees of freedom, reach not enough.
    density = lambda x: -jnp.sum(jnp.log1p(x**2))
    found = fit(density, "full-rank", jnp.zeros(2), num_samples=4000)
    assert not found.believed and not np.any(found.reliable)


def test_too_few_steps_are_told():
    skewed = lambda x: -jnp.sum(jnp.exp(x) - x) - 5 * (x[1] - x[0] ** 2) ** 2
    found = fit(skewed, mean_field(scale=0.01), jnp.zeros(2), max_steps=1)
    assert found.status == VariationalStatus.NOT_OPTIMAL and float(found.improvement) > 0.01
    assert "raise max_steps" in found.explain()


def test_lanes_jit_and_single_precision(normal_fits):
    mean = jnp.array([1.0, -2.0, 3.0], jnp.float32)

    def one(seed):
        return variational(gaussian, "full-rank", jnp.zeros(3, jnp.float32), mean, key=jax.random.key(seed), **FEW)

    lanes = jax.jit(jax.vmap(one))(jnp.arange(2))
    assert lanes.mean.dtype == jnp.float32 and lanes.mean.shape == (2, 3) and lanes.believed.all()
    np.testing.assert_allclose(lanes.mean, np.broadcast_to(mean, (2, 3)), atol=0.3)
    assert not np.array_equal(lanes.mean[0], lanes.mean[1])
    assert lanes.explain().startswith("2 of 2 lanes believed")


def test_a_stochastic_fit_by_optax_comes_to_the_same_bound(normal_fits):
    rate = optax.adam(optax.cosine_decay_schedule(0.1, 1000))
    mean = jnp.array([1.0, -2.0, 3.0])
    found = fit(gaussian, full_rank(scale=0.5), jnp.zeros(3), mean, method=rate, max_steps=1000, num_draws=256)
    assert float(normal_fits["full-rank"].elbo - found.elbo) < 0.05
    assert float(found.improvement) < 0.01 and found.believed, found.explain()


def test_an_importance_weighted_bound_lies_higher(normal_fits):
    mean = jnp.array([1.0, -2.0, 3.0])
    choices = {"num_draws": 256, "num_importance": 8}
    found = fit(gaussian, "mean-field", jnp.zeros(3), mean, **choices)
    plain = normal_fits["mean-field"]
    base = float(gaussian(mean, mean)) + 0.5 * np.log(np.linalg.det(COVARIANCE))
    # What is minimised is less the log density at the first approximation.
    assert -float(found.fit.value) + base > float(plain.elbo)
    # Where weights are averaged it pays to be wide.
    assert (np.asarray(found.guide_sd) > np.asarray(plain.guide_sd)).all()


def test_a_guide_of_ones_own():
    """The logarithm of what is pushed: a normal distribution by other names."""
    push = lambda params, near, z: (
        near.location + params["shift"] + jnp.exp(params["scale"]) * z,
        -0.5 * jnp.sum(z**2) - 0.5 * z.size * jnp.log(2 * jnp.pi) - z.size * params["scale"],
    )
    own = Guide("shared-scale", lambda d: d, lambda near: {"shift": 0.1 * near.location, "scale": jnp.array(0.0)}, push)
    found = fit(lambda x: -0.5 * jnp.sum((x - 1) ** 2) / 4, own, jnp.zeros(2))
    np.testing.assert_allclose(found.guide_sd, 2.0, rtol=0.1)
    assert found.believed and found.num_own == FEW["num_samples"]


def test_a_gradient_by_an_adjoint_is_enough():
    @jax.custom_vjp
    def square(x):
        return jnp.sum(x**2)

    square.defvjp(lambda x: (square(x), x), lambda x, g: (2 * g * x,))
    found = fit(lambda x: -0.5 * square(x / jnp.array([1.0, 10.0])), "full-rank", jnp.array([3.0, 3.0]))
    np.testing.assert_allclose(found.guide_sd, [1, 10], rtol=0.1)
    assert found.believed


@pytest.mark.parametrize(
    ("guide", "start", "choices", "says"),
    [
        ("full", jnp.zeros(3), {}, "Did you mean 'full-rank'"),
        (full_rank(scale=(1.0, 2.0)), jnp.zeros(3), {}, r"scale must be of shape \(3,\), got shape \(2,\)"),
        (low_rank(4), jnp.zeros(3), {}, "rank must be at most the number of variables, 3, got 4"),
        ("full-rank", jnp.zeros(3), {"num_draws": 4}, "num_draws must be at least 6, got 4"),
        ("full-rank", jnp.zeros(3), {"num_importance": 5}, "num_importance must divide num_draws"),
        ("full-rank", jnp.full(3, jnp.nan), {}, "start must be finite"),
        ("full-rank", -jnp.ones(3), {"support": positive()}, "interior of the set"),
        ("full-rank", {"a": 1.0}, {"support": {"b": positive()}}, "support names 'b', but start has 'a'"),
        ("full-rank", {}, {}, "start must be at least one array"),
    ],
)
def test_misuse_is_refused(guide, start, choices, says):
    with pytest.raises(ValueError, match=says):
        fit(lambda x: -jnp.sum(x**2), guide, start, **choices)


def test_negative_scales_and_other_kinds_are_refused():
    with pytest.raises(ValueError, match=r"scale must be finite and above 0, got -1\.0"):
        mean_field(scale=-1.0)
    with pytest.raises(TypeError, match="log_density must return a"):
        fit(lambda x: x, "mean-field", jnp.zeros(2))
    with pytest.raises(TypeError, match="support must hold bijections"):
        fit(lambda x: -(x**2), "mean-field", jnp.array(1.0), support="positive")


def test_a_density_that_is_no_number_at_the_start_is_an_error_and_a_status_under_jit():
    density = lambda x: jnp.sum(jnp.log(x))
    with pytest.raises(ValueError, match="log_density must be finite at the start"):
        fit(density, "mean-field", jnp.array([-1.0, 1.0]))
    found = jax.jit(lambda x: fit(density, "mean-field", x))(jnp.array([-1.0, 1.0]))
    assert found.status == VariationalStatus.BAD_START and not np.any(found.reliable)
