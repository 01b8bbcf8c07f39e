"""Distributions: densities, moments, entropies and divergences against mpmath at 50 digits, quadrature and draws."""

import functools
import math
from typing import Any

import hypothesis
import jax
import jax.numpy as jnp
import mpmath
import numpy as np
import pytest
from hypothesis import strategies as st

from jaxcalc.functions import distributions
from jaxcalc.functions.distributions import kl
from tests.tolerance import assert_close

mpf = mpmath.mpf


def _normal(x, m, s):
    return -(((x - m) / s) ** 2) / 2 - mpmath.log(s) - mpmath.log(2 * mpmath.pi) / 2


def _student(x, v, m, s):
    z = (x - m) / s
    return -(v + 1) / 2 * mpmath.log1p(z**2 / v) - mpmath.log(s * mpmath.sqrt(v) * mpmath.beta(v / 2, mpf(1) / 2))


def _beta(x, a, b):
    return (a - 1) * mpmath.log(x) + (b - 1) * mpmath.log1p(-x) - mpmath.log(mpmath.beta(a, b))


def _normal_kl(p, q):
    r = p[1] / q[1]
    return (r**2 - 1) / 2 - mpmath.log(r) + ((p[0] - q[0]) / q[1]) ** 2 / 2


def _laplace_kl(p, q):
    d = abs(p[0] - q[0])
    return mpmath.log(q[1] / p[1]) + (p[1] * mpmath.exp(-d / p[1]) + d) / q[1] - 1


def _gamma_kl(p, q):
    (a, b), (c, d) = p, q
    shapes = (a - c) * mpmath.digamma(a) - mpmath.loggamma(a) + mpmath.loggamma(c)
    return shapes + c * mpmath.log(b / d) + a * (d - b) / b


def _beta_kl(p, q):
    (a, b), (c, d) = p, q
    psi = mpmath.digamma
    moved = (a - c) * psi(a) + (b - d) * psi(b) + (c - a + d - b) * psi(a + b)
    return mpmath.log(mpmath.beta(c, d)) - mpmath.log(mpmath.beta(a, b)) + moved


def _bernoulli_kl(p, q):
    return p[0] * mpmath.log(p[0] / q[0]) + (1 - p[0]) * mpmath.log((1 - p[0]) / (1 - q[0]))


# name: (log density, divergence, (the parameters' ranges), (where to draw x, as a share of an interval))
CASES = {
    "normal": (_normal, _normal_kl, ((-4, 4), (0.125, 8)), (-20, 20)),
    "exponential": (
        lambda x, b: mpmath.log(b) - b * x,
        lambda p, q: q[0] / p[0] - 1 - mpmath.log(q[0] / p[0]),
        ((0.125, 8),),
        (0, 20),
    ),
    "laplace": (lambda x, m, s: -abs(x - m) / s - mpmath.log(2 * s), _laplace_kl, ((-4, 4), (0.125, 8)), (-20, 20)),
    "gamma": (
        lambda x, a, b: a * mpmath.log(b) + (a - 1) * mpmath.log(x) - b * x - mpmath.loggamma(a),
        _gamma_kl,
        ((0.25, 16), (0.125, 8)),
        (2.0**-10, 20),
    ),
    "beta": (_beta, _beta_kl, ((0.25, 16), (0.25, 16)), (2.0**-10, 1 - 2.0**-10)),
    "student_t": (_student, None, ((0.5, 32), (-4, 4), (0.125, 8)), (-(2.0**40), 2.0**40)),
    "bernoulli": (
        lambda x, p: mpmath.log(p if x else 1 - p),
        _bernoulli_kl,
        ((2.0**-10, 1 - 2.0**-10),),
        (0, 1),
    ),
    "poisson": (
        lambda x, r: x * mpmath.log(r) - r - mpmath.loggamma(x + 1),
        lambda p, q: p[0] * mpmath.log(p[0] / q[0]) - p[0] + q[0],
        ((0.125, 32),),
        (0, 40),
    ),
}
DISCRETE = ("bernoulli", "poisson", "categorical")
# The error of a log-density allowed, in units of eps times the largest of 1, the result and the term that a sum which
# crosses 0 has lost, and of what an ulp of an argument changes.
ULPS = {
    "normal": 4,
    "exponential": 3,
    "laplace": 3,
    "gamma": 16,
    "beta": 16,
    "student_t": 16,
    "bernoulli": 2,
    "poisson": 16,
}
TERMS = {
    "gamma": lambda x, a, b: abs(mpmath.loggamma(a)),
    "beta": lambda x, a, b: abs(mpmath.loggamma(a + b)),
    "poisson": lambda k, rate: mpmath.loggamma(k + 1),
}
# The error of a divergence allowed, in units of eps times (the result and what an ulp of a parameter changes it by);
# of gamma and beta, whose divergences are differences of log-gammas, relative to those instead.
KL_ULPS = {"normal": 8, "exponential": 8, "laplace": 8, "gamma": 64, "beta": 128, "bernoulli": 8, "poisson": 8}
DTYPES: Any = {np.float32: 32, np.float64: 64}
PHASES = (hypothesis.Phase.explicit, hypothesis.Phase.generate)  # shrinking at 50 digits takes minutes
SETTINGS = hypothesis.settings(max_examples=12, deadline=None, derandomize=True, database=None, phases=PHASES)


def build(name, *parameters):
    return getattr(distributions, name)(*parameters)


@functools.cache
def log_density(name):
    return jax.jit(lambda x, *parameters: build(name, *parameters).log_density(x))


@functools.cache
def divergence(name):
    return jax.jit(lambda p, q: kl(build(name, *p), build(name, *q)))


def numbers(dtype, low, high):
    return st.floats(low, high, width=DTYPES[dtype], allow_subnormal=False)


def moved_by_an_ulp(fun, arguments, eps):
    """What an ulp of each argument changes a result by, added up."""
    true, nudge = fun(*arguments), 1 - mpf(eps)
    each = (fun(*arguments[:i], a * nudge, *arguments[i + 1 :]) for i, a in enumerate(arguments))
    return sum(abs(moved - true) for moved in each)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("name", CASES)
def test_log_densities_against_mpmath(x64, name, dtype):
    exact, _, ranges, support = CASES[name]
    where = st.integers(*support).map(float) if name in DISCRETE else numbers(dtype, *support)
    row = st.tuples(where, *(numbers(dtype, *each) for each in ranges))
    eps = float(np.finfo(dtype).eps)

    @SETTINGS
    @hypothesis.given(st.lists(row, min_size=8, max_size=8))
    def check(rows):
        columns = [np.asarray(column, dtype) for column in zip(*rows)]
        found = log_density(name)(*columns)
        assert found.dtype == dtype
        with mpmath.workdps(50):
            for one, arguments in zip(np.asarray(found, np.float64), rows):
                arguments = [mpf(each) for each in arguments]
                true = exact(*arguments)
                fixed = (lambda *rest, x=arguments[0]: exact(x, *rest)) if name in DISCRETE else exact
                moved = moved_by_an_ulp(fixed, arguments[name in DISCRETE :], eps)
                term = TERMS.get(name, lambda *_: 0)(*arguments)
                allowed = ULPS[name] * (eps * max(1, abs(true), term) + moved)
                assert abs(mpf(float(one)) - true) <= allowed, arguments

    check()


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("name", KL_ULPS)
def test_divergences_against_mpmath(x64, name, dtype):
    exact, ranges = CASES[name][1], CASES[name][2]
    one = st.tuples(*(numbers(dtype, *each) for each in ranges))
    # Half of the pairs are neighbours, whose divergence is of second order in their distance.
    shift = st.sampled_from([1.0, 1 + 2.0**-4, 1 + 2.0**-8, 1 - 2.0**-10])
    close = st.tuples(one, shift).map(lambda pair: (pair[0], tuple(float(dtype(each * pair[1])) for each in pair[0])))
    close = close.filter(lambda pair: name != "bernoulli" or pair[1][0] < 1)
    eps = float(np.finfo(dtype).eps)

    @SETTINGS
    @hypothesis.given(st.lists(st.one_of(st.tuples(one, one), close), min_size=8, max_size=8))
    def check(pairs):
        p, q = (tuple(np.asarray(column, dtype) for column in zip(*side)) for side in zip(*pairs))
        found = np.asarray(divergence(name)(p, q), np.float64)
        with mpmath.workdps(50):
            for got, (left, right) in zip(found, pairs):
                n, arguments = len(left), [mpf(each) for each in (*left, *right)]
                fun = lambda *a, n=n: exact(a[:n], a[n:])
                true = fun(*arguments)
                scale = abs(true) + moved_by_an_ulp(fun, arguments, eps) / eps
                if name in ("gamma", "beta"):
                    scale += 1 + sum(abs(mpmath.loggamma(a)) for a in (left[0], right[0], left[-1], right[-1]))
                    scale += abs(left[0] - right[0]) * (1 + abs(mpmath.digamma(left[0])))
                assert abs(mpf(float(got)) - true) <= KL_ULPS[name] * eps * scale + 1e-300, (left, right)
                assert got >= 0 or name in ("gamma", "beta")

    check()


# -- moments, entropies, distribution functions --------------------------------------------------------------------

EXAMPLES = {
    "normal": (0.5, 1.5),
    "uniform": (-1.0, 2.5),
    "exponential": (0.75,),
    "laplace": (0.5, 1.5),
    "gamma": (2.5, 0.75),
    "beta": (2.5, 1.5),
    "student_t": (5.5, 0.5, 1.5),
    "bernoulli": (0.3,),
    "poisson": (2.5,),
    "categorical": ((0.1, 0.2, 0.3, 0.4),),
}
# Where the density lives, cut at what does not change 14 digits, and split where it bends.
INTERVALS = {
    "normal": (-20, 0.5, 20),
    "uniform": (-1, 2.5),
    "exponential": (0, 5, 60),
    "laplace": (-70, 0.5, 70),
    "gamma": (0, 1, 10, 80),
    "beta": (0, 0.5, 1),
    "student_t": (-mpmath.inf, -5, 0.5, 5, mpmath.inf),
}


def expectation(name, fun) -> Any:
    """By quadrature at 30 digits, or by summation; the density from the closed forms tested above or plain."""
    parameters = EXAMPLES[name]
    if name == "categorical":
        return mpmath.fsum(mpf(p) * fun(mpf(i), mpmath.log(p)) for i, p in enumerate(parameters[0]))
    parameters = [mpf(each) for each in parameters]
    if name in DISCRETE:
        counts = range(2 if name == "bernoulli" else 80)
        logs = ((mpf(k), CASES[name][0](mpf(k), *parameters)) for k in counts)
        return mpmath.fsum(mpmath.exp(log) * fun(k, log) for k, log in logs)
    log = (lambda x, low, high: -mpmath.log(high - low)) if name == "uniform" else CASES[name][0]

    def integrand(x):
        at = log(x, *parameters)
        return mpmath.exp(at) * fun(x, at)

    return mpmath.quad(integrand, [mpf(each) for each in INTERVALS[name]])


@functools.cache
def answers(name):
    with jax.enable_x64(True):
        one = build(name, *EXAMPLES[name])
        entropy = None if name == "poisson" else float(one.entropy())
        return float(one.mean()), float(one.variance()), entropy


@pytest.mark.parametrize("name", EXAMPLES)
def test_total_mean_variance_and_entropy_are_the_integrals(x64, name):
    mean, variance, entropy = answers(name)
    with mpmath.workdps(25):
        assert_close(float(expectation(name, lambda x, _: mpf(1))), 1, 16)
        assert_close(float(expectation(name, lambda x, _: x)), mean, 16)
        assert_close(float(expectation(name, lambda x, _: (x - mean) ** 2)), variance, 16)
        if entropy is not None:
            assert_close(float(expectation(name, lambda _, log: -log)), entropy, 256)


@pytest.mark.parametrize("name", ["normal", "uniform", "exponential", "laplace", "gamma", "beta", "student_t"])
def test_the_density_is_the_slope_of_the_distribution_function(x64, name):
    low, high = float(max(INTERVALS[name][0], -8)), float(min(INTERVALS[name][-1], 9))
    x = jnp.linspace(low, high, 42)[1:-1]
    fun = lambda t: build(name, *EXAMPLES[name]).cdf(t)
    # JAX's incomplete beta function is 64 ulps exact with fused multiply-adds, which only LLVM's optimiser makes.
    slope, density, value = jax.jit(
        lambda x: (jax.vmap(jax.grad(fun))(x), build(name, *EXAMPLES[name]).density(x), fun(x)),
        compiler_options={"xla_backend_optimization_level": 3, "xla_llvm_disable_expensive_passes": False},
    )(x)
    assert_close(slope, density, 1024)
    assert (np.diff(value) >= 0).all()
    exact: Any = mpmath.quad(
        lambda t: mpmath.exp(CASES[name][0](t, *map(mpf, EXAMPLES[name]))) if name != "uniform" else mpf(1) / 3.5,
        [mpf(each) for each in INTERVALS[name] if each < float(x[20])] + [mpf(float(x[20]))],
    )
    assert_close(value[20], exact, 64)


@pytest.mark.parametrize("name", ["bernoulli", "poisson", "categorical"])
def test_discrete_distribution_functions_are_sums(x64, name):
    one, counts = build(name, *EXAMPLES[name]), np.arange(12)
    total = np.cumsum(one.density(counts))
    assert_close(one.cdf(counts + 0.5), total, 64)
    assert one.cdf(-0.5) == 0
    np.testing.assert_array_equal(one.density(jnp.array([0.5, -1.0])), 0)


def test_small_tails_keep_their_digits(x64):
    assert_close(distributions.normal().cdf(-30.0), mpmath.ncdf(-30), 1024)
    assert_close(distributions.laplace().cdf(-600.0), math.exp(-600) / 2, 16)
    assert float(distributions.exponential().cdf(1e-20)) == 1e-20


def test_a_cauchy_tail_at_a_tangent_that_squared_overflows():
    far = distributions.student_t(1.0).log_density(1e30)
    assert_close(far, -math.log(math.pi) - 60 * math.log(10), 4, dtype=jnp.float32)


# -- draws ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", EXAMPLES)
def test_draws_have_the_moments(name):
    n = 40_000
    drawn = build(name, *EXAMPLES[name]).sample(jax.random.key(1), (n,))
    assert drawn.shape == (n,)
    assert jnp.issubdtype(drawn.dtype, jnp.integer if name in DISCRETE else jnp.floating)
    mean, variance, _ = answers(name)
    x = np.asarray(drawn, np.float64)
    # Five standard errors of each estimate, that of the variance from the draws' own fourth moment.
    assert abs(x.mean() - mean) < 5 * math.sqrt(variance / n)
    assert abs(x.var() - variance) < 5 * ((x - x.mean()) ** 2).std() / math.sqrt(n)


def test_draws_of_a_batch_are_differentiable_and_fixed_by_their_key():
    draw = jax.jit(lambda key, means: distributions.normal(means, jnp.ones(2)).sample(key, (4,)))
    means = jnp.zeros((3, 1))
    assert draw(jax.random.key(0), means).shape == (4, 3, 2)
    np.testing.assert_array_equal(draw(jax.random.key(0), means), draw(jax.random.key(0), means))
    slope = jax.jacfwd(lambda s: distributions.normal(0.0, s).sample(jax.random.key(3)))(2.0)
    assert float(slope) == pytest.approx(float(distributions.normal().sample(jax.random.key(3))))


# -- several dimensions --------------------------------------------------------------------------------------------


def covariance(seed, n=3):
    root = np.random.default_rng(seed).normal(size=(n, n))
    return root @ root.T + np.eye(n)


def test_the_multivariate_normal(x64):
    from scipy import stats

    mean, matrix = np.array([0.5, -1.0, 2.0]), covariance(0)
    one, peer = distributions.multivariate_normal(mean, matrix), stats.multivariate_normal(mean, matrix)  # pyright: ignore[reportArgumentType]
    x = np.random.default_rng(1).normal(size=(5, 3))
    assert_close(one.log_density(x), peer.logpdf(x), 32)
    assert_close(one.entropy(), peer.entropy(), 16)
    np.testing.assert_allclose(one.mean(), mean)
    assert_close(one.variance(), matrix, 16)
    drawn = np.asarray(one.sample(jax.random.key(0), (20_000,)))
    assert drawn.shape == (20_000, 3)
    np.testing.assert_allclose(drawn.mean(0), mean, atol=5 * math.sqrt(matrix.max() / 20_000))
    np.testing.assert_allclose(np.cov(drawn.T), matrix, atol=0.05 * matrix.max())
    score = jax.grad(lambda t: one.log_density(t))(jnp.zeros(3))
    assert_close(score, np.linalg.solve(matrix, mean), 16)


def test_the_multivariate_divergence(x64):
    means = np.array([[0.5, -1.0, 2.0], [0.0, 0.5, 1.0]])
    p, q = (distributions.multivariate_normal(m, covariance(i)) for i, m in enumerate(means))
    inverse, step = np.linalg.inv(covariance(1)), means[1] - means[0]
    trace = np.trace(inverse @ covariance(0)) - 3 + step @ inverse @ step
    exact = 0.5 * (trace + np.linalg.slogdet(covariance(1))[1] - np.linalg.slogdet(covariance(0))[1])
    assert_close(kl(p, q), exact, 16)
    near = covariance(0) * (1 + 1e-7)
    tiny = kl(p, distributions.multivariate_normal(means[0], near))
    assert float(tiny) == pytest.approx(3 / 4 * 1e-14, rel=1e-6, abs=0)


def test_a_batch_is_its_members(x64):
    means, matrices = np.arange(6.0).reshape(2, 3), np.stack([covariance(0), covariance(1)])
    batch = distributions.multivariate_normal(means, matrices)
    assert batch.batch_shape == (2,)
    x = np.ones(3)
    each = [distributions.multivariate_normal(m, c) for m, c in zip(means, matrices)]
    assert_close(batch.log_density(x), [one.log_density(x) for one in each], 16)
    assert_close(batch.entropy(), [one.entropy() for one in each], 16)
    assert_close(kl(batch, each[0]), [kl(one, each[0]) for one in each], 16, scale=0.03125)
    assert batch.sample(jax.random.key(0), (4,)).shape == (4, 2, 3)
    same_mean = distributions.multivariate_normal(means[0], matrices)
    assert same_mean.mean().shape == (2, 3)
    assert same_mean.variance().shape == (2, 3, 3)


# -- examples and laws ---------------------------------------------------------------------------------------------


def test_a_divergence_of_three_classes(x64):
    p, q = distributions.categorical((0.4, 0.3, 0.3)), distributions.categorical((0.33, 0.33, 0.34))
    assert float(kl(p, q)) == pytest.approx(0.4 * math.log(0.4 / 0.33) + 0.3 * math.log(0.3 / 0.33 * 0.3 / 0.34))
    assert float(kl(p, q)) == pytest.approx(0.0108, abs=5e-5)
    assert float(kl(q, p)) == pytest.approx(0.0105, abs=5e-5)
    assert kl(p, p) == 0
    sure = distributions.categorical((1.0, 0.0, 0.0))
    assert float(kl(sure, p)) == pytest.approx(-math.log(0.4))
    assert kl(p, sure) == jnp.inf
    assert sure.entropy() == 0


def test_a_fair_die(x64):
    die = distributions.categorical(np.full(6, 1 / 6))
    assert_close(float(die.mean()) + 1, 3.5, 4)
    assert_close(die.variance(), 35 / 12, 4)


def test_the_probability_of_an_interval_and_a_mean_of_a_function(x64):
    one = distributions.normal()
    assert float(one.cdf(1.0) - one.cdf(-1.0)) == pytest.approx(0.6826894921, abs=5e-11)
    assert distributions.uniform(0.0, 4.0).cdf(3.0) == 0.75


def test_the_hessian_of_a_divergence_is_the_fisher_information(x64):
    """Bernoulli with logit 0.4: ``s(1 - s)``, by the closed divergence and by the score's variance."""
    logit = 0.4
    of = lambda z: distributions.bernoulli(jax.nn.sigmoid(z))
    curvature = jax.grad(jax.grad(lambda z: kl(of(logit), of(z))))(logit)
    score = jax.vmap(jax.grad(lambda z, x: of(z).log_density(x)), (None, 0))(logit, jnp.array([0.0, 1.0]))
    information = jnp.sum(of(logit).density(jnp.array([0.0, 1.0])) * score**2)
    assert float(curvature) == pytest.approx(0.240261, abs=5e-7)
    assert_close(information, curvature, 16)


@pytest.mark.parametrize("name", sorted(set(EXAMPLES) - {"student_t"}))
def test_a_divergence_is_least_and_flat_at_itself(x64, name):
    """Its gradient in q vanishes at p, and grows to both sides."""
    p = build(name, *EXAMPLES[name])
    if name == "uniform":
        wider = distributions.uniform(-2.0, 3.0)
        assert float(kl(p, wider)) == pytest.approx(math.log(5 / 3.5))
        assert kl(wider, p) == jnp.inf
        return
    parameters = p.parameters

    def away(t, i):
        if name == "categorical":
            return kl(p, distributions.categorical(jax.nn.softmax(jnp.log(parameters[0]) + t * jnp.arange(4.0))))
        return kl(p, build(name, *(q + t * (i == j) for j, q in enumerate(parameters))))

    indices = range(len(parameters))
    kinds = (away, jax.grad(away), jax.grad(jax.grad(away)))
    for value, slope, bend in jax.jit(lambda t: [[kind(t, i) for kind in kinds] for i in indices])(0.0):
        assert_close(value, 0, 4, scale=1)
        assert_close(slope, 0, 16, scale=1)
        assert float(bend) > 0.01


def test_parameters_may_be_traced_batched_and_differentiated(x64):
    means = jnp.linspace(-1, 1, 5)
    value = jax.jit(jax.vmap(lambda m: kl(distributions.normal(m, 1.0), distributions.normal(0.0, 2.0))))(means)
    assert_close(value, np.log(2) + (1 + means**2) / 8 - 0.5, 16)
    one = jax.jit(lambda d: jax.tree.map(lambda leaf: 2 * leaf, d))(distributions.normal(1.0, 2.0))
    assert one.mean() == 2
    assert one.family.name == "normal"
    assert jnp.isnan(jax.jit(lambda s: distributions.normal(0.0, s).entropy())(-1.0))
    assert jnp.isnan(jax.jit(lambda c: distributions.multivariate_normal(jnp.zeros(1), c).entropy())(-jnp.eye(1)))


@pytest.mark.parametrize("name", ["exponential", "gamma", "beta", "poisson"])
def test_outside_the_support_nothing_is_nan(name):
    value, score = jax.value_and_grad(lambda p: build(name, p, *EXAMPLES[name][1:]).log_density(-1.0))(2.0)
    assert value == -jnp.inf
    assert jnp.isfinite(score)


def test_at_the_ends_of_the_support(x64):
    assert distributions.gamma(1.0, 2.0).log_density(0.0) == math.log(2)
    assert distributions.gamma(0.5, 2.0).log_density(0.0) == jnp.inf
    assert_close(distributions.beta(1.0, 1.0).log_density(jnp.array([0.0, 1.0])), 0, 4, scale=1)
    assert distributions.bernoulli(1.0).log_density(1) == 0
    assert distributions.bernoulli(1.0).entropy() == 0


@pytest.mark.parametrize("dtype", DTYPES)
def test_the_beta_function_where_the_librarys_own_is_off(x64, dtype):
    """By way of the density's normaliser, ``log p(1/2) = (2 - a - b) log 2 - log B(a, b)``."""
    pairs = [(0.75, 8.125), (0.5, 16), (0.5, 9.875), (3, 5), (9.875, 10.125), (16, 0.25), (12, 1000), (0.5, 2.0**20)]
    a, b = np.asarray(pairs, dtype).T
    found = np.asarray(log_density("beta")(np.full(8, 0.5, dtype), a, b), np.float64)
    with mpmath.workdps(50):
        exact = [float(_beta(mpf(0.5), mpf(float(c)), mpf(float(d)))) for c, d in zip(a, b)]
    # Both terms are of size (a + b) log 2, and the smaller argument's logarithm of Gamma is a term too.
    assert (abs(found - exact) <= 16 * np.finfo(dtype).eps * (a + b + np.abs(a * np.log(a + b)) + 1)).all()


def test_moments_that_do_not_exist():
    assert jnp.isnan(distributions.student_t(1.0).mean())
    assert distributions.student_t(1.5).variance() == jnp.inf
    assert jnp.isnan(distributions.student_t(0.5).variance())


@pytest.mark.parametrize("dtype", [jnp.bfloat16, jnp.float32])
@pytest.mark.parametrize("name", EXAMPLES)
def test_dtypes_follow_the_parameters(name, dtype):
    parameters = [jnp.asarray(p, dtype) for p in EXAMPLES[name]]
    parameters = [jax.nn.softmax(p) for p in parameters] if name == "categorical" else parameters

    def everything(*parameters):
        one = build(name, *parameters)
        entropy = () if name == "poisson" else (one.entropy(),)
        return one.log_density(1), one.cdf(1), one.mean(), one.variance(), *entropy

    assert {each.dtype for each in jax.eval_shape(everything, *parameters)} == {jnp.dtype(dtype)}


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: distributions.normal(0.0, 0.0), "normal: std must be finite and above 0, got 0.0"),
        (lambda: distributions.normal(math.nan), "normal: mean must be finite"),
        (lambda: distributions.uniform(1.0, 1.0), "uniform: low must be below high"),
        (lambda: distributions.exponential(-1.0), "rate must be finite and above 0"),
        (lambda: distributions.laplace(0.0, -1.0), "scale must be"),
        (lambda: distributions.gamma(0.0, 1.0), "gamma: shape must be"),
        (lambda: distributions.beta(1.0, [1.0, 0.0]), "beta: b must be"),
        (lambda: distributions.student_t(0.0), "df must be"),
        (lambda: distributions.bernoulli(1.5), r"probability must be in \[0, 1\]"),
        (lambda: distributions.categorical([0.5, 0.4]), "categorical: probabilities must sum to 1"),
        (lambda: distributions.categorical([1.5, -0.5]), r"probabilities must be in \[0, 1\]"),
        (lambda: distributions.categorical(1.0), r"must have shape \(..., k\)"),
        (lambda: distributions.poisson(0.0), "rate must be"),
        (lambda: distributions.normal([0.0, 1.0], [1.0, 1.0, 1.0]), "normal: the parameters' shapes must broadcast"),
        (lambda: distributions.multivariate_normal([0.0], [[-1.0]]), "must be positive definite"),
        (lambda: distributions.multivariate_normal([0.0, 0.0], [[1.0, 0.5], [0.0, 1.0]]), "must be symmetric"),
        (lambda: distributions.multivariate_normal(0.0, 1.0), "In one dimension use normal"),
        (lambda: kl(distributions.normal(), distributions.laplace()), "got normal and laplace"),
        (lambda: kl(distributions.student_t(3.0), distributions.student_t(3.0)), "student_t has no closed divergence"),
        (lambda: distributions.poisson(1.0).entropy(), "poisson has no closed entropy"),
        (lambda: distributions.multivariate_normal([0.0], [[1.0]]).cdf(0.0), "no closed distribution function"),
    ],
)
def test_misuse_says_what_was_expected(call, message):
    with pytest.raises(ValueError, match=message):
        call()


def test_a_beta_of_huge_parameters_tells_no_distribution_function(x64):
    assert np.isnan(float(distributions.beta(1e8, 1e8).cdf(0.5)))


EVERY = {
    "normal": distributions.normal(0.5, 2.0),
    "uniform": distributions.uniform(-1.0, 2.0),
    "exponential": distributions.exponential(2.0),
    "laplace": distributions.laplace(0.5, 2.0),
    "gamma": distributions.gamma(2.0, 1.0),
    "steep gamma": distributions.gamma(0.5, 10.0),
    "tall gamma": distributions.gamma(30.0, 10.0),
    "beta": distributions.beta(2.0, 3.0),
    "cauchy": distributions.student_t(1.0),
    "student_t": distributions.student_t(3.0, 1.0, 2.0),
    "bernoulli": distributions.bernoulli(0.3),
    "poisson": distributions.poisson(3.0),
    "rare poisson": distributions.poisson(0.5),
    "poisson of many": distributions.poisson(100.0),
}


@pytest.mark.parametrize("name", EVERY)
@pytest.mark.parametrize("dtype", [jnp.float32, jnp.float64])
def test_at_infinity_and_far_out(x64, name, dtype):
    p = jax.tree.map(lambda parameter: parameter.astype(dtype), EVERY[name])
    discrete = p.family.name in ("bernoulli", "poisson")  # whose log-probability has no slope
    slope = lambda p, x: jnp.zeros_like(x) if discrete else jax.grad(p.log_density)(x)
    run = lambda p, x: (p.log_density(x), p.cdf(x), jax.grad(p.cdf)(x), slope(p, x))
    largest = float(jnp.finfo(dtype).max)
    points = jnp.asarray([-np.inf, np.inf, -largest, largest, -1e30, 1e30], dtype)
    logs, cumulated, slopes, rates = map(np.asarray, jax.jit(jax.vmap(run, (None, 0)))(p, points))
    assert (logs[:2] == -np.inf).all() and not np.isnan(logs).any() and not np.isnan(rates).any()
    np.testing.assert_array_equal(cumulated[:2], [0, 1])
    assert ((cumulated >= 0) & (cumulated <= 1)).all() and np.isfinite(slopes).all()


@pytest.mark.parametrize("k", [9.0, 10.0, 1e3, 1e8, 1e30, 1e200])
def test_probabilities_of_large_counts_against_mpmath(x64, k):
    for rate in (3.0, k, k + k**0.5, 0.6 * k, 0.4 * k, 3 * k):
        with mpmath.workdps(500):
            count, mean = mpmath.mpf(k), mpmath.mpf(rate)
            exact = float(count * mpmath.log(mean) - mean - mpmath.loggamma(count + 1))
        assert_close(distributions.poisson(rate).log_density(k), exact, 64, scale=1)


def test_an_infinite_vector_is_infinitely_far_away(x64):
    p = distributions.multivariate_normal([0.0, 1.0], [[2.0, 1.5], [1.5, 2.0]])
    inf = np.inf
    points = jnp.asarray([[inf, 0], [0, inf], [inf, inf], [-inf, inf], [inf, np.nan], [0, 0]])
    got = p.log_density(points)
    np.testing.assert_array_equal(np.isneginf(got), [True, True, True, True, False, False])
    np.testing.assert_array_equal(np.isnan(got), [False, False, False, False, True, False])
    assert np.isnan(p.log_density(jnp.asarray([np.nan, 0.0])))


@pytest.mark.parametrize("name", EVERY)
def test_complex_numbers_are_refused(name):
    p = EVERY[name]
    for method in ("log_density", "density", "cdf"):
        with pytest.raises(TypeError, match=f"{p.family.name}.{method}: x must be of real floating-point numbers"):
            getattr(p, method)(jnp.asarray([1j]))
        with pytest.raises(TypeError, match=f"{p.family.name}.{method}: x must be of real floating-point numbers"):
            jax.jit(getattr(p, method))(1j)


@pytest.mark.parametrize(
    "call",
    [
        lambda: distributions.normal(1j, 1.0),
        lambda: distributions.normal(0.0, np.asarray([1 + 1j])),
        lambda: jax.jit(distributions.normal)(1j, 1.0),
        lambda: distributions.gamma(2.0, [1j]),
        lambda: distributions.poisson(2j),
        lambda: distributions.categorical(jnp.asarray([0.5, 0.5 + 0j])),
        lambda: distributions.multivariate_normal([1j, 0.0], np.eye(2)),
        lambda: distributions.multivariate_normal([0.0, 0.0], np.eye(2) + 0j),
    ],
)
def test_complex_parameters_are_refused(call):
    with pytest.raises(TypeError, match="must be of real floating-point numbers, got complex"):
        call()


DRAWN = [
    distributions.normal(),
    distributions.multivariate_normal([0.0, 0.0], np.eye(2)),
    distributions.poisson(2.0),
    distributions.categorical([0.5, 0.5]),
]


@pytest.mark.parametrize("p", DRAWN, ids=lambda p: p.family.name)
def test_shapes_of_draws(p):
    key, event = jax.random.key(0), (2,) * p.family.event_ndim
    for shape, expected in (((), ()), ([2, 3], (2, 3)), (np.asarray([2]), (2,)), ((0,), (0,)), ((np.int32(4),), (4,))):
        assert p.sample(key, shape).shape == (*expected, *event)
    for shape in (3, None, (2.5,), "ab", (True,), ((2,),)):
        with pytest.raises(TypeError, match=f"{p.family.name}.sample: shape must be a tuple of whole numbers, got"):
            p.sample(key, shape)
    for shape in ((-1,), (2, -3)):
        with pytest.raises(ValueError, match=f"{p.family.name}.sample: shape must be a tuple of whole numbers, each"):
            p.sample(key, shape)
