"""What an experiment is: a question with a Config, a run, figures and claims."""

import ast
import dataclasses
import inspect
import itertools
import textwrap
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any, Literal, NamedTuple, TypeVar

import pydantic

if TYPE_CHECKING:
    import xarray
    from matplotlib.figure import Figure

    Array = Any

Kind = Literal["compiled", "host", "timed"]
Dtype = Literal["float32", "float64"]
Verdict = Literal["confirmed", "qualified", "refuted", "cited", "not judged"]

_T = TypeVar("_T")


class _SweptMark:
    """Marks a field whose value reaches ``run`` as a traced number."""

    def __repr__(self) -> str:
        return "Swept"


if TYPE_CHECKING:
    Swept = Annotated[_T, _SweptMark()]
else:

    class Swept(_SweptMark):
        """``Swept[float]``: a numeric field that a compiled experiment receives as a traced value.

        One program then serves every value: it may be an axis of ``vmap:``, and a ``grid:`` axis over it compiles once.
        ``Annotated[float, Swept]`` means the same.
        """

        def __class_getitem__(cls, item):
            return Annotated[item, cls()]


def is_swept(metadata: Any) -> bool:
    """Whether one element of a field's metadata is the Swept mark."""
    return isinstance(metadata, _SweptMark) or metadata is Swept


class Config(pydantic.BaseModel):
    """The base of an experiment's parameters: frozen, strict, unknown keys refused.

    A string below a field describes it.
    """

    model_config = pydantic.ConfigDict(frozen=True, strict=True, extra="forbid")


def descriptions(model: type[pydantic.BaseModel]) -> dict[str, str]:
    """What each field of a model means: its ``description``, or the string below it.

    The strings are read when they are asked for: pydantic would read them whenever a model is made, which costs more
    than checking a config does.
    """
    found: dict[str, str] = {}
    for owner in reversed(model.__mro__):
        if owner is pydantic.BaseModel or not issubclass(owner, pydantic.BaseModel):
            continue
        try:
            body = ast.parse(textwrap.dedent(inspect.getsource(owner))).body[0].body  # pyright: ignore[reportAttributeAccessIssue]
        except (OSError, TypeError, SyntaxError):
            continue  # a model made at run time has no source
        for field, below in itertools.pairwise(body):
            if isinstance(field, ast.AnnAssign) and isinstance(field.target, ast.Name) and isinstance(below, ast.Expr):
                if isinstance(below.value, ast.Constant) and isinstance(below.value.value, str):
                    found[field.target.id] = inspect.cleandoc(below.value.value)
    return found | {name: field.description for name, field in model.model_fields.items() if field.description}


class Variable(NamedTuple):
    """One entry of an experiment's ``VARIABLES``: dimensions beside the swept ones, unit, description.

    A variable named like its only dimension is that dimension's coordinate. ``measured`` marks clock readings and their
    like, which no rerun repeats; left at ``None`` it is true in a timed experiment and false in any other.
    """

    dims: tuple[str, ...] = ()
    unit: str = ""
    description: str = ""
    measured: bool | None = None


@dataclass(frozen=True)
class Part:
    """One question: what a module exports under these names.

    A module of one's own that asks several binds one ``Part`` for each, addressed as ``module:part``.

    Args:
      Config: the pydantic model of the parameters.
      VARIABLES: name -> (dimensions, unit, description[, measured]).
      kind: ``"compiled"``, ``"host"`` or ``"timed"``.
      run: ``run(config, key) -> dict of arrays``, one entry per variable that is not in ``shared``.
      shared: ``shared(config) -> dict of arrays`` that all points have in common; called once, with the base config.
      figures: ``figures(dataset) -> {name: Figure}``; without it each variable is charted.
      claims: id in the ledger -> ``judge(dataset)``, which returns a ``Check`` or, with words, a ``Finding``.
      tables: ``tables(dataset) -> {title: [row, ...]}``, each row a dict of column to value.
      dtype: the floating-point type of a run whose config names none; by default that of the package around.
      needs: modules beyond the lab's own that ``run`` imports, such as a peer's.
    """

    Config: type[pydantic.BaseModel]
    VARIABLES: Mapping[str, tuple]
    kind: Kind
    run: Callable[..., Mapping[str, "Array"]]
    shared: Callable[..., Mapping[str, "Array"]] | None = None
    figures: Callable[["xarray.Dataset"], Mapping[str, "Figure"]] | None = None
    claims: "Mapping[str, Callable[[xarray.Dataset], Any]]" = dataclasses.field(default_factory=dict)
    tables: Callable[["xarray.Dataset"], Mapping[str, list[dict[str, Any]]]] | None = None
    dtype: Dtype = "float32"
    needs: tuple[str, ...] = ()
    doc: str = ""
