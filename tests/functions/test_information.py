"""Mutual information and rings of spins, by other routes."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxcalc.functions.energy_models import ising_chain, ising_log_partition, spin_states
from jaxcalc.functions.information import mutual_information
from tests.tolerance import assert_close


def test_mutual_information_by_its_sum(x64):
    joint = np.random.default_rng(0).dirichlet(np.ones(6)).reshape(2, 3)
    apart = joint.sum(1)[:, None] * joint.sum(0)
    assert_close(mutual_information(joint), (joint * np.log(joint / apart)).sum(), 256)
    # Of a copy it is all of the entropy; tables with empty cells are fine, and so are batches.
    assert_close(mutual_information(jnp.eye(4) / 4), np.log(4), 16)
    both = mutual_information(np.stack([joint, apart]))
    assert_close(both[0], mutual_information(joint), 4)
    assert abs(both[1]) < 1e-15
    assert jnp.isfinite(jax.grad(lambda e: mutual_information(jnp.array([[1 - e, e], [e, 1 - e]]) / 2))(0.2))


@pytest.mark.parametrize(
    ("joint", "says"),
    [
        ([0.5, 0.5], r"must have shape \(..., k, m\)"),
        ([[0.5, 0.5], [0.5, 0.5]], "must sum to 1"),
        ([[1.5, -0.5]], "must be in"),
    ],
)
def test_tables_that_are_none(joint, says):
    with pytest.raises(ValueError, match=says):
        mutual_information(joint)


@pytest.mark.parametrize("count", [1, 2, 5])
def test_a_ring_by_enumeration(x64, count):
    states = spin_states(count)
    assert states.shape == (2**count, count)
    for coupling, field in ((0.7, 0.3), (-1.2, 0.0), (0.0, -0.4)):
        by_sum = np.log(np.exp(ising_chain(states, coupling, field)).sum())
        assert_close(ising_log_partition(count, coupling, field), by_sum, 64, scale=1.0)
    # The slope by the field is the mean magnetisation.
    weight = jax.nn.softmax(ising_chain(states, 0.7, 0.3))
    slope = jax.grad(lambda h: ising_log_partition(count, 0.7, h))(0.3)
    assert_close(slope, weight @ states.sum(1), 256)
    with pytest.raises(ValueError, match="count"):
        spin_states(21)
