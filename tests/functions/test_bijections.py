"""Round trips, volumes against the determinant of the Jacobian, densities that keep their mass, and refusals."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.integrate
import scipy.stats

from jaxcalc.functions import bijections as b
from tests.tolerance import assert_close

pytestmark = pytest.mark.usefixtures("x64")
KINDS = {
    "real": (b.real, (3,)),
    "positive": (b.positive, (3,)),
    "greater_than": (lambda: b.greater_than(jnp.array([-1.0, 0.0, 5.0])), (3,)),
    "less_than": (lambda: b.less_than(2.0), (3,)),
    "interval": (lambda: b.interval(-1.0, 4.0), (3,)),
    "ordered": (b.ordered, (4,)),
    "simplex": (b.simplex, (3,)),
}


@pytest.fixture(params=KINDS, scope="module")
def kind(request):
    with jax.enable_x64(True):
        make, shape = KINDS[request.param]
        return request.param, make(), jax.random.normal(jax.random.key(0), shape, float)


def test_there_and_back(kind):
    _, bijection, x = kind
    y = bijection.forward(x)
    assert_close(bijection.inverse(y), np.asarray(x), 200, scale=1.0)
    assert bijection.unconstrained_shape(y.shape) == x.shape
    # Rows of a matrix are points of their own.
    rows = jnp.stack([x, x + 0.5])
    assert_close(bijection.forward(rows)[1], np.asarray(bijection.forward(x + 0.5)), 10)


def test_the_volume_is_that_of_the_jacobian(kind):
    name, bijection, x = kind
    matrix = jax.jacfwd(bijection.forward)(x)
    matrix = matrix[:-1] if name == "simplex" else matrix
    assert_close(bijection.log_det(x), float(jnp.linalg.slogdet(matrix)[1]), 500, scale=1.0)
    assert_close(bijection.log_det(jnp.stack([x, x])), 2 * float(bijection.log_det(x)), 20, scale=1.0)


def test_far_out_everything_stays_finite(kind):
    _, bijection, x = kind
    for far in (-30.0, 30.0):
        value, slope = jax.value_and_grad(bijection.log_det)(jnp.full_like(x, far))
        assert jnp.isfinite(value) and jnp.isfinite(slope).all()


def test_a_density_keeps_its_mass():
    bijection = b.interval(0.0, 1.0)
    density = lambda x: float(jnp.exp(bijection.log_det(x))) * scipy.stats.beta.pdf(float(bijection.forward(x)), 2, 3)
    mass, _ = scipy.integrate.quad(density, -30, 30, epsabs=1e-10)
    assert abs(mass - 1) < 1e-8


def test_the_simplex_begins_at_its_centre_and_sums_to_one():
    assert_close(b.simplex().forward(jnp.zeros(4)), np.full(5, 0.2), 10)
    y = b.simplex().forward(jax.random.normal(jax.random.key(1), (6, 4), float) * 3)
    assert_close(y.sum(-1), np.ones(6), 10)
    assert (np.diff(np.asarray(b.ordered().forward(y)), axis=-1) > 0).all()


@pytest.mark.parametrize(
    ("bijection", "point"),
    [
        (b.positive, 0.0),
        (b.positive, np.nan),
        (lambda: b.less_than(1.0), 1.0),
        (lambda: b.interval(0.0, 1.0), 1.5),
        (b.ordered, [1.0, 1.0]),
        (b.simplex, [0.5, 0.6]),
    ],
)
def test_points_outside_are_refused(bijection, point):
    with pytest.raises(ValueError, match="expected a point in the interior of the set, got"):
        bijection().inverse(jnp.asarray(point))


def test_bounds_are_checked():
    with pytest.raises(ValueError, match="low must be below high"):
        b.interval(1.0, 1.0)
    with pytest.raises(ValueError, match="greater_than: low must be finite"):
        b.greater_than(np.inf)
    with pytest.raises(ValueError, match="vectors along the last axis"):
        b.ordered().forward(1.0)
