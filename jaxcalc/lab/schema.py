"""One JSON Schema of all configs, for editors: the question that a config names decides what its parameters are."""

import json
from pathlib import Path
from typing import Any

import pydantic

from jaxcalc.lab import registry
from jaxcalc.lab.config import Settings, nested_model
from jaxcalc.lab.errors import ConfigError
from jaxcalc.lab.experiment import descriptions, is_swept
from jaxcalc.lab.registry import Experiment


def schema(experiments: list[Experiment]) -> dict[str, Any]:
    """The JSON Schema of a config of any of these experiments."""
    whole = _described(Settings, Settings.model_json_schema())
    whole["$schema"] = "https://json-schema.org/draft/2020-12/schema"
    whole["title"] = "jaxcalc config"
    properties, definitions = whole["properties"], whole.setdefault("$defs", {})
    properties["experiment"] |= {
        "anyOf": [{"enum": [experiment.name for experiment in experiments]}, {"pattern": r"\."}],
    }
    properties["memory_limit"] = {
        "type": "string",
        "pattern": r"^[0-9.]+ ?([kMG]B|[KMG]iB|B)$",
        "description": "Memory that an isolated trial may hold, as 4GiB or 500MB.",
    }
    definitions["Axis"] = {
        "description": "A list of values, or a shorthand.",
        "anyOf": [
            {"type": "array", "minItems": 1},
            *(
                {"type": "object", "properties": {name: {}}, "required": [name], "additionalProperties": False}
                for name in ("log", "linear", "range")
            ),
        ],
    }
    axes = definitions["Sweep"]["properties"]
    for group in ("vmap", "grid", "auto"):
        axes[group] |= {"additionalProperties": {"$ref": "#/$defs/Axis"}}
    whole.pop("required", None)  # a file of several runs may name an experiment in each
    whole["anyOf"] = [{"required": ["experiment"]}, {"required": ["runs"]}]
    properties["runs"] = {
        "description": "Several runs in one file, by name; each says what it varies of what stands at the top.",
        "type": "object",
        "minProperties": 1,
        "additionalProperties": {
            "anyOf": [
                {"type": "null"},
                {"type": "object", "properties": dict(properties), "additionalProperties": False},
            ]
        },
    }
    whole["allOf"] = [_of_question(experiment, definitions) for experiment in experiments]
    return whole


def _of_question(experiment: Experiment, definitions: dict[str, Any]) -> dict[str, Any]:
    """What holds of a config that names this experiment: its parameters, its axes, its claims."""
    model = experiment.part.Config
    params = _described(model, model.model_json_schema())
    params.pop("required", None)  # what the sweep provides need not stand in params
    params |= {"title": "params", "description": experiment.part.doc.strip().partition("\n")[0]}
    inner = params.pop("$defs", {})
    text = json.dumps([params, inner])
    for name in inner:  # two questions may each have a model of one name
        text = text.replace(f'"#/$defs/{name}"', f'"#/$defs/{experiment.name}.{name}"')
    params, inner = json.loads(text)
    definitions |= {f"{experiment.name}.{name}": made for name, made in inner.items()}
    fields = {name: {"$ref": "#/$defs/Axis"} for name in [*params.get("properties", {}), "seed"]}
    lanes = {"seed", *(name for name, f in model.model_fields.items() if any(map(is_swept, f.metadata)))}
    axes = {group: {"properties": fields} for group in ("grid", "auto")}
    if experiment.kind == "compiled":
        axes["vmap"] = {"properties": {name: axis for name, axis in fields.items() if name in lanes}}
    then: dict[str, Any] = {"params": params, "sweep": {"properties": axes}}
    judges = experiment.part.claims
    then["claims"] = {"items": {"enum": list(judges)}} if judges else {"maxItems": 0}
    named = {"properties": {"experiment": {"const": experiment.name}}}
    return {"if": named, "then": {"properties": then}}


def _described(model: type[pydantic.BaseModel], made: dict[str, Any]) -> dict[str, Any]:
    """pydantic's schema of a model with the descriptions that stand below its fields, nested models' too."""
    models, pending = {model.__name__: model}, [model]
    while pending:
        outer = pending.pop()
        for name in outer.model_fields:
            inner = nested_model(outer, (name,))
            if inner.__name__ not in models:
                models[inner.__name__] = inner
                pending.append(inner)
    for name, schema in {model.__name__: made, **made.get("$defs", {})}.items():
        for key, text in descriptions(models[name]).items() if name in models else ():
            schema["properties"][key].setdefault("description", text)
    return made


def write(path: Path) -> int:
    """Write the schema of every question in reach; the number of questions.

    Raises:
      ConfigError: an experiment in reach does not import, or the file cannot be written.
    """
    names = [name for module, file in registry.available().items() for name in registry.questions(module, file)]
    text = json.dumps(schema([registry.load(name) for name in names]), indent=1) + "\n"
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
    except OSError as error:
        raise ConfigError(f"cannot write {path}: {error.strerror or error}") from None
    return len(names)
