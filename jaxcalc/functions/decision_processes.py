"""Finite decision processes whose value is known: by recursion, and by a sum over all that may happen."""

import itertools
from dataclasses import dataclass, field

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from jaxcalc import checks

__all__ = ["DecisionProcess", "Trajectories", "policy_value", "total_reward", "trajectories", "two_rooms"]

_MOST_TRAJECTORIES = 1 << 20


@jax.tree_util.register_dataclass
@dataclass(frozen=True)
class DecisionProcess:
    """A Markov decision process of ``S`` states and ``A`` actions.

    Args:
      start: probability of each first state, shape ``(S,)``.
      transition: of the next state, shape ``(S, A, S)``.
      reward: of an action in a state, shape ``(S, A)``.
    """

    start: Array
    transition: Array
    reward: Array


def two_rooms(slip: float = 0.2, offset: float = 1.0) -> DecisionProcess:
    """Two rooms: stay, or try to change, which fails with some chance; the second room pays 1 more a step.

    Args:
      slip: chance that a change fails, in [0, 1].
      offset: what every step pays, which no action changes.

    Raises:
      ValueError: for a chance out of range.
    """
    checks.number("two_rooms", "slip", slip, least=0, most=1)
    move = np.array([[slip, 1 - slip], [1 - slip, slip]])
    transition = np.stack([np.eye(2), move], axis=1)  # actions: stay, change
    reward = np.array([[0.0, -0.1], [1.0, 0.9]]) + offset  # a change costs something
    return DecisionProcess(jnp.array([0.8, 0.2]), jnp.asarray(transition), jnp.asarray(reward))


def policy_value(process: DecisionProcess, logits: Array, horizon: int) -> Array:
    """The expected total reward of a softmax policy, by recursion from the last step.

        V_h(s) = sum_a pi(a | s) (r(s, a) + sum_t P(t | s, a) V_{h-1}(t)),    V_0 = 0

    Args:
      logits: of the policy, shape ``(S, A)``.
      horizon: steps, at least 1.

    Returns:
      ``sum_s start(s) V_horizon(s)``, a scalar. Its gradient by the logits is the policy gradient.
    """
    horizon = checks.integer("policy_value", "horizon", horizon)
    policy = jax.nn.softmax(logits, axis=-1)

    def step(value, _):
        return (policy * (process.reward + process.transition @ value)).sum(-1), None

    value, _ = jax.lax.scan(step, jnp.zeros(policy.shape[0], policy.dtype), None, length=horizon)
    return process.start @ value


@jax.tree_util.register_dataclass
@dataclass(frozen=True)
class Trajectories:
    """The distribution of what happens under a softmax policy: ``(s_0, a_0, s_1, a_1, ...)``, whole numbers.

    Args:
      process: the decision process.
      logits: of the policy, shape ``(S, A)``.
      horizon: steps.
    """

    process: DecisionProcess
    logits: Array
    horizon: int = field(metadata={"static": True})

    def sample(self, key: Array) -> Array:
        """One trajectory, shape ``(2 horizon,)``."""
        first, rest = jax.random.split(key)

        def step(state, key):
            act, move = jax.random.split(key)
            action = jax.random.categorical(act, self.logits[state])
            after = jax.random.categorical(move, jnp.log(self.process.transition[state, action]))
            return after, jnp.stack([state, action])

        start = jax.random.categorical(first, jnp.log(self.process.start))
        return jax.lax.scan(step, start, jax.random.split(rest, self.horizon))[1].reshape(-1)

    def log_density(self, x: Array) -> Array:
        """The log-probability of a trajectory; -inf of one that cannot happen."""
        state, action = _steps(x)
        taken = jax.nn.log_softmax(self.logits, axis=-1)[state, action].sum()
        moved = self.process.transition[state[:-1], action[:-1], state[1:]]
        return jnp.log(self.process.start[state[0]]) + jnp.log(moved).sum() + taken


def total_reward(process: DecisionProcess, x: Array) -> Array:
    """What a trajectory, shape ``(2 horizon,)``, pays."""
    return process.reward[_steps(x)].sum()


def trajectories(process: DecisionProcess, horizon: int) -> np.ndarray:
    """All that may happen, shape ``((S A)**horizon, 2 horizon)``: atoms for a sum.

    Args:
      horizon: steps.

    Raises:
      ValueError: for more than a million of them.
    """
    horizon = checks.integer("trajectories", "horizon", horizon)
    states, actions = np.shape(process.reward)
    if (states * actions) ** horizon > _MOST_TRAJECTORIES:
        raise ValueError(
            f"trajectories: at most {_MOST_TRAJECTORIES} are listed, got {states * actions}**{horizon}. Sample them."
        )
    pairs = list(itertools.product(range(states), range(actions)))
    return np.array(list(itertools.product(pairs, repeat=horizon)), float).reshape(-1, 2 * horizon)


def _steps(x: Array) -> tuple[Array, Array]:
    """States and actions, whole numbers too where the atoms of a sum are floats."""
    pairs = x.astype(int).reshape(-1, 2)
    return pairs[:, 0], pairs[:, 1]
