"""Densities in the plane: normalised, with samplers that draw from them."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxcalc.functions import planar_densities
from jaxcalc.functions.planar_densities import PLANAR_DENSITIES, planar_density


@pytest.mark.parametrize("name", PLANAR_DENSITIES)
def test_density_integrates_to_one_and_its_sampler_fits(name, x64):
    density = planar_density(name)
    # The midpoint rule on a smooth density converges beyond all orders; the banana's ends reach up to 40.
    first, second = jnp.linspace(-10.0, 10.0, 401), jnp.linspace(-10.0, 45.0, 1101)
    grid = jnp.stack(jnp.meshgrid(first, second, indexing="ij"), axis=-1)
    log_p = jax.jit(density.log_density)(grid)
    p, cell = np.asarray(jnp.exp(log_p)), 0.05**2
    assert p.sum() * cell == pytest.approx(1.0, abs=1e-9)
    points = density.sample(jax.random.key(0), 40_000)
    assert points.shape == (40_000, 2) and points.dtype == jnp.float64
    # Moments of the sampler against those of the density, five standard errors.
    for moment in (lambda x: x[..., 0], lambda x: x[..., 1] ** 2, lambda x: x[..., 0] ** 2 * x[..., 1], jnp.cos):
        drawn = np.asarray(moment(points)).reshape(40_000, -1)
        wanted = np.einsum("ij,ijk->k", p, np.asarray(moment(grid)).reshape(*p.shape, -1)) * cell
        assert (abs(drawn.mean(0) - wanted) < 5 * drawn.std(0) / 200).all()
    values = np.asarray(density.log_density(points))
    entropy = -np.sum(np.where(p > 0, p * np.where(p > 0, log_p, 0.0), 0.0)) * cell
    assert abs(values.mean() + entropy) < 5 * values.std() / 200
    if density.entropy is not None:
        assert density.entropy == pytest.approx(entropy, abs=1e-6)


def test_derivatives_are_finite_where_polar_coordinates_have_none():
    slope = jax.grad(planar_densities.moons().log_density)
    assert np.isfinite(slope(jnp.array([1.0, -0.2]))).all()


def test_wrong_arguments_are_refused():
    with pytest.raises(ValueError, match="'pinwheel'"):
        planar_density("pinweel")
    with pytest.raises(ValueError, match="opening must be above 0 and at most 1"):
        planar_densities.moons(opening=2.0)
    with pytest.raises(ValueError, match="std must be"):
        planar_densities.gaussian_ring(std=0.0)
    with pytest.raises(ValueError, match="widths"):
        planar_densities.banana(widths=(1.0, -1.0))
