"""JSON Schema of configs, for editors: ``python -m jaxcalc.lab.schema [FOLDER]`` writes one file per question."""

import json
import sys
from pathlib import Path
from typing import Any

import pydantic

from jaxcalc.lab import registry
from jaxcalc.lab.config import Settings, nested_model
from jaxcalc.lab.experiment import descriptions, is_swept
from jaxcalc.lab.registry import Experiment


def schema(experiment: Experiment) -> dict[str, Any]:
    """The JSON Schema of a config of one experiment."""
    whole = _described(Settings, Settings.model_json_schema())
    params = _described(experiment.part.Config, experiment.part.Config.model_json_schema())
    whole["$schema"] = "https://json-schema.org/draft/2020-12/schema"
    whole["title"] = f"jaxcalc config of {experiment.name}"
    whole["description"] = experiment.part.doc.strip().partition("\n")[0]
    whole.setdefault("$defs", {}).update(params.pop("$defs", {}))
    whole["properties"]["experiment"] = {"const": experiment.name, "description": "The experiment."}
    # What the sweep provides need not stand in params.
    params.pop("required", None)
    whole["properties"]["params"] = {**params, "title": "params", "description": "The experiment's own parameters."}
    whole["properties"]["memory_limit"] = {
        "type": "string",
        "pattern": r"^[0-9.]+ ?([kMG]B|[KMG]iB|B)$",
        "description": "Memory that an isolated trial may hold, as 4GiB or 500MB.",
    }
    lanes = [name for name, f in experiment.part.Config.model_fields.items() if any(map(is_swept, f.metadata))]
    axis = {"$ref": "#/$defs/Axis"}
    whole["$defs"]["Axis"] = {
        "description": "A list of values, or a shorthand.",
        "anyOf": [
            {"type": "array", "minItems": 1},
            *(
                {"type": "object", "properties": {name: {}}, "required": [name], "additionalProperties": False}
                for name in ("log", "linear", "range")
            ),
        ],
    }
    fields = dict.fromkeys(params.get("properties", {}), axis)
    sweep = whole["$defs"]["Sweep"]["properties"]
    for group, names in (("vmap", lanes if experiment.kind == "compiled" else []), ("grid", fields), ("auto", fields)):
        sweep[group] |= {"properties": dict.fromkeys([*names, "seed"], axis)}
        sweep[group]["additionalProperties"] = axis  # nested fields, in dotted form
        sweep[group].pop("anyOf", None)
    return whole


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


def write(folder: Path, experiments: Path) -> list[Path]:
    """Write the schema of every question in a folder of experiments; what is up to date is left as it is."""
    folder.mkdir(parents=True, exist_ok=True)
    written = []
    for module, file in registry.available(experiments).items():
        for name in registry.questions(module, file):
            path = folder / f"{name.replace(':', '-')}.json"
            text = json.dumps(schema(registry.load(name, experiments.parent)), indent=2) + "\n"
            if not path.exists() or path.read_text() != text:
                path.write_text(text)
                written.append(path)
    return written


if __name__ == "__main__":
    for path in write(Path(sys.argv[1] if len(sys.argv) > 1 else "configs/schema"), Path("experiments")):
        print(path)
