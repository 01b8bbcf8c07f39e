"""What the house promises as a whole."""

import json
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
import yaml

from jaxcalc.lab import registry
from jaxcalc.lab.config import runs
from jaxcalc.lab.schema import write
from jaxcalc.lab.sweep import open_plan

ROOT = Path(__file__).resolve().parent.parent
CONFIGS = sorted((ROOT / "configs").rglob("*.yaml"))
HOME = ROOT / "experiments"
FILES = sorted([*HOME.glob("[!_]*.py"), *HOME.glob("*/[!_]*.py")])
EXPERIMENTS = {".".join(file.relative_to(HOME).with_suffix("").parts): file for file in FILES}

_BLOCKED = """
import sys, importlib
class Blocked:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] in ("jax", "jaxlib", "matplotlib", "xarray", "scipy", "diffrax", "optax", "sklearn"):
            raise ImportError(f"{name} is imported at the top of {sys.argv[1:]}")
sys.meta_path.insert(0, Blocked())
for name in sys.argv[1:]:
    importlib.import_module(name)
"""


@pytest.mark.parametrize("path", CONFIGS, ids=lambda p: str(p.relative_to(ROOT / "configs")))
def test_every_config_is_good_and_fits_its_schema(path, monkeypatch):
    monkeypatch.chdir(ROOT)
    plans = [open_plan(config) for config in runs(path)]
    up = "../" * (len(path.relative_to(ROOT / "configs").parts) - 1)
    first = path.read_text().partition("\n")[0]
    assert first == f"# yaml-language-server: $schema={up}schema.json"
    assert all(plan.num_points for plan in plans)


def test_one_schema_knows_every_question_and_what_it_takes(tmp_path, monkeypatch):
    monkeypatch.chdir(ROOT)
    count = write(tmp_path / "schema.json")
    document = json.loads((tmp_path / "schema.json").read_text())
    known = [name for stem, file in registry.available().items() for name in registry.questions(stem, file)]
    assert count == len(known) and document["properties"]["experiment"]["anyOf"][0]["enum"] == known
    questions = {
        entry["if"]["properties"]["experiment"]["const"]: entry["then"]["properties"] for entry in document["allOf"]
    }
    for path in CONFIGS:
        plain = yaml.safe_load(path.read_text())
        assert set(plain) <= set(document["properties"])
        for run in plain.get("runs", {"": {}}).values():
            known = questions[{**plain, **run}["experiment"]]["params"]["properties"]
            assert {*plain.get("params", {}), *run.get("params", {})} <= set(known)
    assert set(re.findall(r'"#/\$defs/([^"]+)"', json.dumps(document))) <= set(document["$defs"])


def test_experiments_import_without_jax():
    names = [f"experiments.{name}" for name in EXPERIMENTS]
    done = subprocess.run([sys.executable, "-c", _BLOCKED, *names], capture_output=True, text=True, cwd=ROOT)
    assert done.returncode == 0, done.stderr


def test_importing_jaxcalc_imports_nothing_else():
    code = "import sys, jaxcalc; print([m for m in ('jax', 'numpy', 'pydantic', 'matplotlib') if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_every_public_name_exists():
    import jaxcalc
    from jaxcalc import lab

    for module in (jaxcalc, lab):
        for name in module.__all__:
            assert getattr(module, name) is not None
        with pytest.raises(AttributeError, match="it has"):
            module.nothing_of_this_name  # noqa: B018


@pytest.mark.parametrize("module", EXPERIMENTS)
def test_variables_are_described(module, monkeypatch):
    monkeypatch.chdir(ROOT)
    for name in registry.questions(module, EXPERIMENTS[module]):
        for variable, entry in registry.load(name).variables.items():
            assert entry.description, f"{name}: {variable}"


@pytest.mark.parametrize("file", ["constraints.txt", "constraints-next.txt"])
def test_constraints_are_plain_versions_of_all_that_is_asked_for(file):
    lines = (ROOT / file).read_text().splitlines()
    assert lines and all(re.fullmatch(r"[A-Za-z0-9._-]+==[0-9][A-Za-z0-9.+!]*", line) for line in lines)
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    asked = [*project["dependencies"], *project["optional-dependencies"]["test"]]
    plain = lambda name: re.match(r"[\w.-]+", name)[0].lower().replace("_", "-")
    assert {plain(name) for name in asked} <= {plain(line.partition("==")[0]) for line in lines}


def _blocks(file, language):
    return re.findall(rf"```{language}\n(.*?)```", (ROOT / file).read_text(), flags=re.S)


@pytest.mark.parametrize("code", _blocks("README.md", "python"), ids=lambda c: c.strip().partition("\n")[0])
def test_python_examples_of_the_readme_run(code, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "configs").symlink_to(ROOT / "configs")
    exec(compile(code, "README.md", "exec"), {"__name__": "readme"})


@pytest.mark.parametrize("text", _blocks("README.md", "yaml"), ids=lambda c: c.strip().partition("\n")[0])
def test_configs_of_the_readme_are_good(text, monkeypatch, tmp_path):
    monkeypatch.chdir(ROOT)
    path = tmp_path / "config.yaml"
    path.write_text(text)
    assert open_plan(path).num_points > 0


def test_commands_of_the_readme_exist(monkeypatch, capsys):
    from jaxcalc.lab.cli import main

    monkeypatch.chdir(ROOT)
    commands = [line.strip() for block in _blocks("README.md", "sh") for line in block.splitlines()]
    assert "make demo" in {re.split(r"\s+#", c)[0] for c in commands}
    targets = (ROOT / "Makefile").read_text()
    for command in commands:
        words = re.split(r"\s+#", command)[0].split()
        if words[0] == "make":
            assert f"\n{words[1]}:" in targets
        elif words[:2] == ["jaxcalc", "run"]:
            assert main(["check", *(w for w in words[2:] if not w.startswith("-"))]) == 0, command
        elif words[0] == "jaxcalc":
            assert main([words[1], "--help"]) == 0, command


def test_links_and_configs_of_the_readme_exist():
    text = (ROOT / "README.md").read_text()
    links = re.findall(r"\]\(([^)#:]+)\)", text)
    assert links and all((ROOT / link).exists() for link in links), links
    told = re.findall(r"^\| \w* \| `(\w+)` \|", text, flags=re.M)
    assert told == [subject for subjects in registry.chapters(HOME).values() for subject in subjects]
    assert set(told) == {name.partition(".")[0] for name in EXPERIMENTS}
