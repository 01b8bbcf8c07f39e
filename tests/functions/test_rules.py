"""Rules of differentiation by example: every derivative that is written out is the function's."""

import jax
import jax.numpy as jnp
import pytest

from jaxcalc.functions import rules

LAWS = [(law, number) for law, examples in rules.laws().items() for number in range(len(examples))]


def check(example):
    with jax.enable_x64(True):
        x = jnp.linspace(example.low, example.high, 101)
        slope, by_rule = jax.vmap(jax.grad(example.value))(x), example.derivative(x)
        assert by_rule.shape == x.shape
        assert float(abs(slope - by_rule).max()) <= 1e-14 * max(1.0, float(abs(by_rule).max()))


@pytest.mark.parametrize(("law", "number"), LAWS)
def test_laws_give_the_derivatives_of_their_examples(law, number):
    check(rules.laws()[law][number])


@pytest.mark.parametrize("name", rules.TABLE)
def test_the_table_holds_derivatives(name):
    check(rules.table_entry(name))


def test_an_unknown_entry_is_refused():
    with pytest.raises(ValueError, match="nothing"):
        rules.table_entry("nothing")
