"""A decision process by recursion, by a sum over all that may happen, and by draws."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxcalc.functions.decision_processes import Trajectories, policy_value, total_reward, trajectories, two_rooms
from tests.tolerance import assert_close

LOGITS = np.array([[0.3, -0.2], [0.1, -0.4]])


def test_value_by_recursion_and_by_enumeration(x64):
    process = two_rooms()
    atoms = jnp.asarray(trajectories(process, 3))
    law = Trajectories(process, jnp.asarray(LOGITS), 3)
    probability = jnp.exp(jax.vmap(law.log_density)(atoms))
    assert atoms.shape == (64, 6)
    assert_close(probability.sum(), 1.0, 16)
    pays = jax.vmap(lambda x: total_reward(process, x))(atoms)
    assert_close(probability @ pays, policy_value(process, jnp.asarray(LOGITS), 3), 16)


def test_one_step_by_hand(x64):
    policy = np.exp(LOGITS) / np.exp(LOGITS).sum(1, keepdims=True)
    by_hand = 0.8 * (policy[0] @ [1.0, 0.9]) + 0.2 * (policy[1] @ [2.0, 1.9])
    assert_close(policy_value(two_rooms(), jnp.asarray(LOGITS), 1), by_hand, 16)


def test_draws_follow_the_law(x64):
    """Frequencies of the 16 trajectories of two steps within 4.5 binomial standard deviations."""
    process = two_rooms()
    law, atoms = Trajectories(process, jnp.asarray(LOGITS), 2), trajectories(process, 2)
    drawn = np.asarray(jax.jit(jax.vmap(law.sample))(jax.random.split(jax.random.key(0), 20_000)))
    code = np.array([8, 4, 2, 1])
    share = np.bincount(drawn @ code, minlength=16) / len(drawn)
    p = np.exp(jax.vmap(law.log_density)(jnp.asarray(atoms)))
    order = np.argsort(atoms @ code)
    assert (abs(share - p[order]) <= 4.5 * np.sqrt(p[order] / len(drawn))).all()


def test_refusals():
    with pytest.raises(ValueError, match="Sample them"):
        trajectories(two_rooms(), 11)
    with pytest.raises(ValueError, match="slip"):
        two_rooms(slip=1.5)
