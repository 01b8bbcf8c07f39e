"""No public operator keeps the functions that it was given, nor what was compiled for them."""

import ctypes
import gc
import weakref
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jaxcalc
from jaxcalc import transforms
from jaxcalc.engines import finite_differences
from jaxcalc.functions.distributions import normal

WARM, MANY = 60, 300
# XLA itself keeps about 0.06 MB of each program that jax.jit compiled and let go.
ALLOWED = 0.2  # MB a function


def _scalar(k):
    return lambda x: jnp.sum(jnp.sin(k * x) ** 2) + x[0] * x[1]


def _vector(k):
    return lambda x: jnp.cumsum(jnp.sin(k * x)) * x[0]


def _number(k):
    return lambda x: jnp.exp(-k * x * x)


def _model(k):
    return lambda w: jnp.tanh(k * w) + w[0]


def _log_density(k):
    return lambda x: -k * x - jnp.log(2 * jnp.sinh(k) / k)


X = np.linspace(0.1, 0.9, 4, dtype=np.float32)
KEY = jax.random.key(0)
_square = lambda y: jnp.sum(y**2)
_uniform = lambda x: jnp.full(jnp.shape(x), -jnp.log(2.0))
CHEAP = {"method": "gauss-legendre", "num_points": 16}
ON = {"support": (-1, 1), **CHEAP}
FEW = {"num_samples": 64}
ENDS = np.array([0.0, 1.0], np.float32)
CALLS = {
    "bilaplacian": (_scalar, lambda f: jaxcalc.bilaplacian(f)(X)),
    "check_gradient": (_scalar, lambda f: jaxcalc.check_gradient(f, jax.grad(f), X)),
    "classify_stationary_point": (_scalar, lambda f: jaxcalc.classify_stationary_point(f, X)),
    "compare": (_scalar, lambda f: jaxcalc.compare(jaxcalc.hvp, f, (X,), X)),
    "continuity": (_number, lambda f: transforms.continuity(f, 0.5)),
    "cost": (_scalar, lambda f: jaxcalc.cost(f, X)),
    "diagonal": (_scalar, lambda f: jaxcalc.diagonal(f)(X)),
    "directional_derivative": (_scalar, lambda f: jaxcalc.directional_derivative(f)(X, X)),
    "double_integral": (_number, lambda f: jaxcalc.double_integral(lambda x, y: f(x) * y, **CHEAP)(0, 1, 0, 1)),
    "entropy": (_log_density, lambda f: transforms.entropy(f, **ON)()),
    "expectation": (_number, lambda f: jaxcalc.expectation(f, _uniform, **ON)()),
    "expectation-adaptive": (_number, lambda f: jaxcalc.expectation(f, _uniform, support=(-1, 1))()),
    "expectation-drawn": (
        _number,
        lambda f: jaxcalc.expectation(f, lambda: normal(0.0, 1.0), method="score", control_variate="none", **FEW)(KEY),
    ),
    "finite_differences": (_number, lambda f: finite_differences.derivative(f)(0.5)),
    "fisher_vp": (_model, lambda f: jaxcalc.fisher_vp(f)(X, X)),
    "flow": (_number, lambda f: jaxcalc.flow(lambda t, y, a: -f(t) * y)(X, ENDS)),
    "flow-grad": (_number, lambda f: jax.grad(lambda y: jaxcalc.flow(lambda t, y, a: -f(t) * y)(y, ENDS).sum())(X)),
    "forward_laplacian": (_scalar, lambda f: jaxcalc.forward_laplacian(f)(X)),
    "ggn_vp": (_model, lambda f: jaxcalc.ggn_vp(f, _square)(X, X)),
    "hessian": (_scalar, lambda f: jaxcalc.hessian(f)(X)),
    "hvp": (_scalar, lambda f: jaxcalc.hvp(f)((X,), X)),
    "importance_sampling": (
        _number,
        lambda f: transforms.importance_sampling(f, jax.random.normal, lambda x: -x * x / 2, **FEW)(KEY),
    ),
    "integral": (_number, lambda f: jaxcalc.integral(f)(0.0, 1.0)),
    "iterated_integral": (
        _number,
        lambda f: jaxcalc.iterated_integral(lambda x, y: f(x) * y, **CHEAP)([(0, 1), (0, 1)]),
    ),
    "jacobian": (_vector, lambda f: jaxcalc.jacobian(f)(X)),
    "jacobian-bcoo": (_vector, lambda f: jaxcalc.jacobian(f, output_format="bcoo")(X)),
    "jacobian-jit": (_vector, lambda f: jax.jit(jaxcalc.jacobian(f))(X)),
    "kl_divergence": (_log_density, lambda f: transforms.kl_divergence(f, _uniform, **ON)()),
    "laplacian": (_scalar, lambda f: jaxcalc.laplacian(f)(X)),
    "limit": (_number, lambda f: jaxcalc.limit(f, 0.5)),
    "limit_of_composition": (_number, lambda f: transforms.limit_of_composition(jnp.sin, f, 0.5)),
    "linear_operator": (_vector, lambda f: jaxcalc.linear_operator(jaxcalc.jacobian, f, X).mv(X)),
    "local_model": (_scalar, lambda f: transforms.local_model(f)(X)(X)),
    "marginal": (
        _number,
        lambda f: transforms.marginal(lambda x, y: -f(x) * y * y, **ON)(0.5),
    ),
    "minimize": (_scalar, lambda f: jaxcalc.minimize(f, X, max_steps=5).value),
    "monte_carlo": (_number, lambda f: jaxcalc.monte_carlo(f, **FEW)(KEY, ENDS[:1], ENDS[1:])),
    "nth_derivative": (_number, lambda f: jaxcalc.nth_derivative(f, 3)(0.5)),
    "plan": (_vector, lambda f: jaxcalc.plan(jaxcalc.jacobian, f, X)(X)),
    "quasi_monte_carlo": (_number, lambda f: transforms.quasi_monte_carlo(f, **FEW)(KEY, ENDS[:1], ENDS[1:])),
    "remainder_bound": (_number, lambda f: transforms.remainder_bound(f, 2)(0.1, 0.5)),
    "sample_mean": (
        _number,
        lambda f: transforms.sample_mean(lambda key: f(jax.random.normal(key)), **FEW)(KEY),
    ),
    "steepest_ascent": (_scalar, lambda f: transforms.steepest_ascent(f)(X)),
    "taylor": (_vector, lambda f: jaxcalc.taylor(f, 3)(X, X)),
    "taylor_polynomial": (_number, lambda f: transforms.taylor_polynomial(f, 3)(0.5)(0.6)),
    "total_mass": (_number, lambda f: transforms.total_mass(lambda x: -f(x), **ON)()),
    "trace": (_scalar, lambda f: jaxcalc.trace(f)(X)),
    "variance": (_number, lambda f: transforms.variance(f, _uniform, **ON)()),
}


def _resident():
    """Megabytes of this process, without what the allocator holds free."""
    gc.collect()
    ctypes.CDLL("libc.so.6").malloc_trim(0)
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * 4096 / 1e6


@pytest.mark.exhaustive
@pytest.mark.skipif(not Path("/proc/self/statm").exists(), reason="memory is read from /proc")
@pytest.mark.parametrize("name", CALLS)
def test_memory_is_flat_over_many_functions(name):
    make, call = CALLS[name]
    alive = []
    for number in range(MANY):
        if number == WARM:
            start = _resident()
        fun = make(1.0 + number / 64)
        alive.append(weakref.ref(fun))
        jax.block_until_ready(jax.tree.leaves(call(fun)))
        del fun
    grown = (_resident() - start) / (MANY - WARM)
    kept = sum(each() is not None for each in alive)
    print(f"{name}: {grown:.3f} MB a function, {kept} alive")
    assert kept <= 1  # the last call's
    assert grown < ALLOWED
