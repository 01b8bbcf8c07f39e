"""Counted programs: what is read off each is what one counts by hand, and the formula's numbers are right."""

import jax
import pytest

from jaxcalc.programs.cost import cost
from jaxcalc.scenarios import counted


@pytest.mark.parametrize("name", counted.NAMES)
def test_every_program_is_priced_as_by_hand(name):
    hand = counted.make(name, 96)
    found = cost(hand.fun, *hand.arguments)
    assert found.flops == pytest.approx(hand.flops, rel=0.05)
    assert found.transcendentals == pytest.approx(hand.transcendentals, rel=0.05)


@pytest.mark.parametrize("name", counted.NAMES)
def test_every_program_can_be_traced_at_the_smallest_size(name):
    hand = counted.make(name, 8)
    assert all(leaf.size for leaf in jax.tree.leaves(jax.eval_shape(hand.fun, *hand.arguments)))
    assert hand.formula


def test_an_unknown_program_is_refused_with_the_known_ones():
    with pytest.raises(ValueError, match="matrix product"):
        counted.make("nothing", 8)  # pyright: ignore[reportArgumentType]
