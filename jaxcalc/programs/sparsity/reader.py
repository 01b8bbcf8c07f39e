"""Reads a program equation by equation: what is certain of every array, and what reaches it."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from scipy import sparse

from jaxcalc.programs import primitives
from jaxcalc.programs.sparsity import constant_folding, loops, rules, selection
from jaxcalc.programs.sparsity.abstract_value import Fact, constant, unknown
from jaxcalc.programs.sparsity.sets import Links, Meter, Space
from jaxcalc.programs.walk import Branches, Equation, Program, Scan, Shards, Solve, Value, While

__all__ = ["Opaque", "Reader"]

# Tell the range of their result whatever they are given.
_RANGED = frozenset({"argmax", "argmin", "top_k"})
# Integers so few are computed at once, so that chains of them stay short.
_FEW = 1024


# Words of the largest packed sets of a matrix that is solved with.
_PACKED_WORDS = 1 << 18


class Opaque(Exception):
    """The program holds a call that cannot be read."""


@dataclass(eq=False)
class Reader:
    """Reads programs on behalf of one pattern.

    Args:
      meter: pays.
      notes: names of operations that were handled conservatively.
      movements: of operations that only move elements, kept because loops meet them again.
      literals: facts of constants, likewise.
    """

    meter: Meter
    notes: set[str] = field(default_factory=set)
    movements: dict[Equation, Any] = field(default_factory=dict)
    literals: dict[Value, Fact] = field(default_factory=dict)

    def run(
        self, program: Program, inputs: Sequence[Fact], space: Space, equations: Sequence[Equation] | None = None
    ) -> list[Fact]:
        """Facts of a program's outputs, given those of its inputs; ``equations``: those that matter."""
        facts: dict[Value, Fact] = dict(zip(program.inputs, inputs))
        for equation in program.equations if equations is None else equations:
            outputs = self.equation(equation, [self.fact(value, facts) for value in equation.inputs], space)
            facts.update(zip(equation.outputs, outputs))
        return [self.fact(value, facts) for value in program.outputs]

    def fact(self, value: Value, facts: dict[Value, Fact]) -> Fact:
        """The fact of a value: found already, a constant, or nothing certain."""
        found = facts.get(value)
        if found is not None:
            return found
        if value.literal is None:
            return unknown(value)
        if value not in self.literals:
            self.literals[value] = constant(value.literal, value)
        return self.literals[value]

    def equation(self, equation: Equation, facts: list[Fact], space: Space) -> list[Fact]:
        """Facts of an equation's outputs."""
        match equation.nested:
            case Scan():
                return loops.scan(self, equation, facts, space)
            case While():
                return loops.while_(self, equation, facts, space)
            case Branches():
                return loops.branches(self, equation, facts, space)
            case Solve() as solve if "solve" in solve.parts:
                return self._solve(solve, facts, space)
            case Shards() as shards if shards.count == 1:
                return self.run(shards.body, facts, space)
        if equation.name == "custom_lin":
            raise Opaque
        if primitives.of(equation.name).kind == "identity":
            return facts
        carrying = any(fact.sets is not None for fact in facts)
        if not carrying and facts and all(fact.plain for fact in facts) and equation.name not in _RANGED:
            return [unknown(value) for value in equation.outputs]
        movement = self._movement(equation, facts)
        if not carrying:
            return [self._certain(equation, facts, movement, position) for position in range(len(equation.outputs))]
        found = rules.depend(equation, facts, movement, space, self.notes)
        return [
            Fact(value.shape, value.dtype, sets)
            if sets is not None
            else self._certain(equation, facts, movement, position, carried=True)
            for position, (value, sets) in enumerate(zip(equation.outputs, found))
        ]

    def _movement(self, equation: Equation, facts: Sequence[Fact]) -> Any:
        if primitives.of(equation.name).kind not in primitives.MOVEMENTS:
            return None
        if equation not in self.movements:
            self.movements[equation] = selection.fixed(equation, facts)
        return self.movements[equation]

    def _certain(
        self, equation: Equation, facts: list[Fact], movement: Any, position: int, carried: bool = False
    ) -> Fact:
        """The fact of an output that no column reaches; its value, zeros and range are found when asked for."""
        value = equation.outputs[position]
        if carried or equation.nested is not None:
            return unknown(value)
        at_point = any(fact.at_point for fact in facts)
        may_be_known = all(fact.may_be_known() for fact in facts)
        may_be_known = may_be_known and (
            movement is not None or constant_folding.possible(equation, position, at_point)
        )
        varying = any(fact.varying for fact in facts)
        fact = Fact(
            value.shape,
            value.dtype,
            value=(lambda: constant_folding.evaluate(equation, facts, position, movement)) if may_be_known else None,
            support=lambda: rules.zeros(equation, facts, movement, position, self.meter),
            bounds=lambda: constant_folding.bounds(fact, equation, facts, position, movement),
            at_point=at_point,
            options=lambda: constant_folding.options(equation, facts, position, movement),
        )
        fact.varying = varying
        if may_be_known and not varying and fact.integral and fact.size <= _FEW:
            fact.value()
        return fact

    def _solve(self, solve: Solve, facts: list[Fact], space: Space) -> list[Fact]:
        """What is executed is the program that solves; where the matrix falls into blocks, it stays within a block."""
        given: dict[str, list[Fact]] = {}
        start = 0
        for name, count in solve.constants.items():
            given[name] = facts[start : start + count]
            start += count
        right = facts[start:]
        blocks = self._blocks(solve, given.get("matvec", []), right)
        if blocks is None or any(fact.sets is not None for fact in given["solve"]):
            return self.run(solve.parts["solve"], [*given["solve"], *right], space)
        parts = [space.empty(fact.size) if fact.sets is None else fact.sets for fact in right]
        whole = space.stack(parts).contract(blocks)
        ends = np.cumsum([0, *(fact.size for fact in right)])
        return [
            Fact(fact.shape, fact.dtype, whole.take(np.arange(first, last)))
            for fact, first, last in zip(right, ends[:-1], ends[1:])
        ]

    def _blocks(self, solve: Solve, constants: list[Fact], right: list[Fact]) -> Links | None:
        """Which unknowns share a block of the matrix; ``None`` if there is one block, or none to be seen."""
        size = sum(fact.size for fact in right)
        if "matvec" not in solve.parts or any(fact.sets is not None for fact in constants) or size < 2:
            return None
        if not any(fact.sets is not None for fact in right):
            return None
        local = Space(size, size * size // 64 <= _PACKED_WORDS, self.meter)
        seeds, start = [], 0
        for fact in right:
            seeds.append(Fact(fact.shape, fact.dtype, local.identity(fact.size, start)))
            start += fact.size
        products = self.run(solve.parts["matvec"], [*constants, *seeds], local)
        rows = [local.empty(fact.size) if fact.sets is None else fact.sets for fact in products]
        matrix = local.stack(rows).matrix()
        if matrix.shape != (size, size):
            return None
        # Equations and unknowns are the two sides of a graph.
        graph: Any = sparse.block_array([[None, matrix], [matrix.T, None]], format="csr")
        count, label = sparse.csgraph.connected_components(graph, directed=False)
        if count < 2 or np.any(
            np.bincount(label[:size], minlength=count) != np.bincount(label[size:], minlength=count)
        ):
            return None
        ones = np.ones(size, bool)
        equations: Links = sparse.csr_array((ones, (label[:size], np.arange(size))), shape=(count, size))
        unknowns: Links = sparse.csr_array((ones, (np.arange(size), label[size:])), shape=(size, count))
        return (unknowns @ equations).tocsr()
