"""Programs that hypothesis writes: differentiable functions with inputs, from the steps of ``tests/steps.py``.

A ``Case`` is data. Its ``repr`` is an expression that makes it again, so a failure can be pasted into a session.
"""

from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from hypothesis import strategies as st

from tests.steps import MOST, STEPS, Choices, Pool, Unfit

# What cannot be pushed forward, what cannot be pulled back, whose second derivatives need not be symmetric.
NO_FORWARD = {"custom_vjp"}
NO_REVERSE = {"while_loop"}
OWN_RULES = {"custom_vjp", "custom_jvp", "custom_jvp_coupled"}

Shape = tuple[int, ...]


@dataclass(frozen=True, eq=False, repr=False)
class Case:
    """A function ``fun(x)``, or ``fun(x, given)`` where integers are an argument of their own.

    Args:
      shapes: of the leaves of ``x``.
      form: how ``x`` holds them: ``"array"`` (one leaf), ``"tuple"`` or ``"dict"``.
      steps: name of each step and what it leaves open; each appends its result to the values, leaves first.
      outputs: which values come out, counted from the last.
      result: how they come out: ``"array"``, ``"tuple"``, ``"dict"``; or for a scalar: ``"sum of squares"``, ...
      given: whether there is an argument of integers.
    """

    shapes: tuple[Shape, ...]
    form: str
    steps: tuple[tuple[str, dict[str, Any]], ...]
    outputs: tuple[int, ...] = (0,)
    result: str = "array"
    given: bool = False

    def __call__(self, x: Any, given: Any = None) -> Any:
        pool = Pool(jax.tree.leaves(x), given)
        for name, record in self.steps:
            pool.values.append(STEPS[name](Choices(record), pool))
        return _result([pool.values[-1 - i] for i in self.outputs], self.result)

    def __repr__(self) -> str:
        lines = "".join(f"        ({name!r}, {record!r}),\n" for name, record in self.steps)
        return (
            f"Case(\n    {self.shapes!r}, {self.form!r},\n    (\n{lines}    ),\n"
            f"    {self.outputs!r}, {self.result!r}, {self.given!r},\n)"
        )

    def args(self, seed: int = 0) -> tuple[Any, ...]:
        """Arguments at a random point."""
        rng = np.random.default_rng(seed + 100)
        x = _form([jnp.asarray(rng.uniform(-1.5, 1.5, shape)) for shape in self.shapes], self.form)
        return (x, jnp.asarray(rng.integers(0, 4, 3), jnp.int32)) if self.given else (x,)

    @property
    def names(self) -> set[str]:
        """The steps' names."""
        return {name for name, _ in self.steps}

    @property
    def forward_allowed(self) -> bool:
        """Whether forward mode is defined: not where a rule gives only the pull-back."""
        return not self.names & NO_FORWARD

    @property
    def reverse_allowed(self) -> bool:
        """Whether reverse mode is defined: not through a loop of unknown count."""
        return not self.names & NO_REVERSE

    @property
    def both_allowed(self) -> bool:
        """Whether both modes are defined, which routes through a colouring may need."""
        return self.forward_allowed and self.reverse_allowed

    @property
    def symmetric(self) -> bool:
        """Whether second derivatives must commute.

        A rule of one's own need not be the derivative of anything, and a solve that is told to be symmetric is
        transposed by itself.
        """
        told = any(record.get("f") == "conjugate gradients" for _, record in self.steps)
        return not told and not self.names & OWN_RULES


def _form(leaves: list[Any], form: str) -> Any:
    match form:
        case "array":
            return leaves[0]
        case "tuple":
            return tuple(leaves)
    return {"ab"[i]: leaf for i, leaf in enumerate(leaves)}


def _result(values: list[Any], result: str) -> Any:
    match result:
        case "array" | "tuple" | "dict":
            return _form(values, result)
        case "sum of squares":
            return sum(jnp.sum(v**2) for v in values)
        case "logsumexp":
            return jax.nn.logsumexp(jnp.concatenate([jnp.zeros(1), *(v.ravel() for v in values)]))
        case "weighted":
            return sum(jnp.sum(v * jnp.sin(1.0 + jnp.arange(v.size).reshape(v.shape))) for v in values)
        case "square of sum":
            return sum(jnp.sum(v) for v in values) ** 2 / 8
        case "product":
            return jnp.prod(jnp.stack([1 + jnp.mean(jnp.sin(v)) if v.size else jnp.ones(()) for v in values]))
    return sum(jnp.sum(v[:-1] * v[1:] + jnp.cos(v[1:])) for v in (v.ravel() for v in values))  # "neighbours"


SCALARS = ("sum of squares", "neighbours", "weighted", "logsumexp", "square of sum", "product")


def _draw_steps(draw: Any, shapes: tuple[Shape, ...], given: bool, most: int, names: list[str]) -> Any:
    """Draw the steps while tracing them, which tells each what shapes there are."""
    choose = lambda options: draw(st.sampled_from(options))
    steps: list[tuple[str, dict[str, Any]]] = []
    sizes: list[int] = []

    def program(leaves, integers):
        pool = Pool(leaves, integers)
        for _ in range(draw(st.integers(1, most))):
            used = {name for name, _ in steps}
            banned = (NO_REVERSE if used & NO_FORWARD else set()) | (NO_FORWARD if used & NO_REVERSE else set())
            name = choose([n for n in names if n not in banned])
            record: dict[str, Any] = {}
            try:
                value = STEPS[name](Choices(record, choose), pool)
            except Unfit:
                continue
            if value.size <= MOST:
                pool.values.append(value)
                steps.append((name, record))
        sizes.extend(v.size for v in pool.values)

    structs = [jax.ShapeDtypeStruct(shape, jnp.float64) for shape in shapes]
    jax.eval_shape(program, structs, jax.ShapeDtypeStruct((3,), jnp.int32) if given else None)
    return tuple(steps), sizes


_SIDES = st.sampled_from([2, 3, 4, 1, 5, 6, 8, 10, 12])
_SHAPES = st.one_of(
    st.tuples(_SIDES),
    st.sampled_from([(), (2, 3), (3, 2), (4, 2), (1, 3), (3, 1), (2, 2, 2), (3, 3)]),
)


@st.composite
def _programs(draw: Any, scalar: bool, most: int, names: list[str]) -> Case:
    form = draw(st.sampled_from(["array", "array", "array", "tuple", "dict"]))
    count = 1 if form == "array" else draw(st.integers(1, 2))
    shapes = tuple(draw(_SHAPES) for _ in range(count))
    if draw(st.integers(0, 24)) == 24:  # an empty leaf
        shapes = (*shapes[:-1], draw(st.sampled_from([(0,), (2, 0)])))
    given = draw(st.integers(0, 4)) == 4
    with jax.enable_x64(True):
        steps, sizes = _draw_steps(draw, shapes, given, most, names)
    last = len(sizes) - 1
    if scalar:
        outputs, result = (0,), draw(st.sampled_from(SCALARS))
        if draw(st.booleans()):
            outputs = (0, draw(st.integers(0, last)))
    else:
        result = draw(st.sampled_from(["array", "array", "array", "tuple", "dict"]))
        outputs = (0,) if result == "array" else (0, draw(st.integers(0, last)))
    return Case(shapes, form, steps, outputs, result, given)


def programs(most: int = 5, only: Any = None) -> st.SearchStrategy[Case]:
    """Functions ``R^n -> R^m``: arrays or PyTrees in and out, of 1 to ``most`` steps, all kinds or ``only`` some."""
    return _programs(False, most, sorted(STEPS if only is None else only))


def scalar_programs(most: int = 4, only: Any = None) -> st.SearchStrategy[Case]:
    """Functions ``R^n -> R``."""
    return _programs(True, most, sorted(STEPS if only is None else only))
