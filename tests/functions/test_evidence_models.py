"""Evidence in closed form beside SciPy's quadrature; the modes are where the gradient is nothing."""

import jax
import numpy as np
import pytest
import scipy.integrate

from jaxcalc.functions.evidence_models import beta_binomial, exponential_decay, linear_regression

MODELS = {"coin": beta_binomial, "rate": exponential_decay, "line": linear_regression}


@pytest.mark.parametrize("name", MODELS)
def test_evidence(x64, name):
    model = MODELS[name]()
    joint = jax.jit(lambda t: jax.numpy.exp(model.log_joint(t) - model.log_evidence))
    low, high = model.box
    if len(low) == 1:
        mass = scipy.integrate.quad(lambda t: float(joint(np.array([t]))), low[0], high[0], points=[model.mode[0]])[0]
    else:
        nodes, weights = np.polynomial.legendre.leggauss(80)
        axes = [(a + b) / 2 + (b - a) / 2 * nodes for a, b in zip(low, high)]
        grid = np.stack(np.meshgrid(*axes, indexing="ij"), axis=-1).reshape(-1, 2)
        mass = np.outer(weights, weights).ravel() @ jax.vmap(joint)(grid) * np.prod(high - low) / 4
    np.testing.assert_allclose(mass, 1, rtol=1e-8)
    assert abs(jax.grad(model.log_joint)(model.mode)).max() < 1e-12
    # The prior's draws have the density told of them: E[p(t)] by draws and on the grid.
    drawn = jax.vmap(model.prior_sample)(jax.random.split(jax.random.key(0), 4000))
    told = np.exp(jax.vmap(model.prior_log_density)(drawn))
    if len(low) == 1:
        wide = np.linspace(-30, 30, 6001)
        density = np.exp(jax.vmap(model.prior_log_density)(wide[:, None]))
        assert abs(np.trapezoid(density, wide) - 1) < 1e-8
        exact = np.trapezoid(density**2, wide)
    else:
        exact = 1 / (4 * np.pi)
    assert abs(told.mean() - exact) < 4 * told.std() / np.sqrt(len(told))


@pytest.mark.parametrize(
    ("make", "says"),
    [
        (lambda: beta_binomial(5, 5), "successes"),
        (lambda: exponential_decay((1.0, -1.0)), "times must be"),
        (lambda: linear_regression(noise=0.0), "noise must be"),
    ],
)
def test_refusals(make, says):
    with pytest.raises(ValueError, match=says):
        make()
