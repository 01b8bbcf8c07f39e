"""Where experiments are found, what counts as their source, and which modules are refused."""

import os
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

from jaxcalc.lab import registry
from jaxcalc.lab.errors import ConfigError
from jaxcalc.lab.runner import run

TEXT = """
from jaxcalc.lab import Config as Base
{imports}
class Config(Base):
    {field}: int = 1

kind = "host"
VARIABLES = {{"{variable}": ({dims}, "", "y")}}

def run(config, key):
    return {{"{variable}": {value}}}
"""


def experiment(imports="", value="V", field="n", variable="y", dims="()"):
    return TEXT.format(imports=imports, value=value, field=field, variable=variable, dims=dims)


@pytest.fixture
def place(tmp_path, monkeypatch):
    """Work in an empty folder; returns a function that writes files there. What was imported is gone afterwards."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [*sys.path])
    monkeypatch.setenv("JAXCALC_CACHE", str(tmp_path / "cache"))
    before = dict(sys.modules)

    def write(name, text):
        file = tmp_path / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(textwrap.dedent(text))
        return file

    yield write
    for name in set(sys.modules) - set(before):
        if not (getattr(sys.modules[name], "__file__", None) or str(tmp_path)).startswith(str(tmp_path)):
            continue
        if name.split(".")[0] in ("experiments", "pk", "helper", "helper2", "alone"):
            del sys.modules[name]
    registry._imported_from.clear()


def found(name, **more):
    """The value that an experiment returns, and the digest of its source."""
    loaded = registry.load(name, **more)
    return loaded.part.run(loaded.part.Config(), None)["y"], registry.source_hash(loaded)


LAYOUTS = {
    "namespace": ("pk.comp", "pk/comp.py", "pk/help.py", "from pk.help import V"),
    "package": ("pk.comp", "pk/comp.py", "pk/deep/help.py", "from .deep.help import V"),
    "file": ("mine", "experiments/mine.py", "experiments/helper2.py", "from experiments.helper2 import V"),
    "file, relative": ("mine", "experiments/mine.py", "experiments/helper2.py", "from .helper2 import V"),
    "file, package": ("mine", "experiments/mine.py", "experiments/tools/a.py", "from .tools import a; V = a.V"),
    "file, beside": ("mine", "experiments/mine.py", "helper.py", "import helper; V = helper.V"),
    "alone": ("alone", "alone.py", "helper.py", "from helper import V"),
}


@pytest.mark.parametrize("layout", LAYOUTS)
def test_a_changed_sibling_is_another_source_and_is_imported_afresh(place, layout):
    name, file, sibling, line = LAYOUTS[layout]
    if layout == "package":
        place("pk/__init__.py", "")
        place("pk/deep/__init__.py", "")
    place(file, experiment(line))
    place(sibling, "V = 1\n")
    first = found(name)
    assert first[0] == 1 and found(name) == first
    same = registry.load(name).part.Config
    assert registry.load(name).part.Config is same, "unchanged, it stays as it is"
    place(sibling, "V = 2\n")
    second = found(name)
    assert second[0] == 2 and second[1] != first[1]
    place(file, experiment(line, value="V + 1"))
    assert found(name)[0] == 3
    place(file, experiment(line))
    place(sibling, "V = 1\n")
    assert found(name) == first


def test_a_sibling_of_a_sibling_counts_and_another_experiment_does_not(place):
    place(
        "experiments/mine.py", experiment("def V():\n    from experiments.helper2 import V\n    return V", value="V()")
    )
    place("experiments/helper2.py", "from . import deeper\nV = deeper.V\n")
    place("experiments/deeper.py", "V = 1\n")
    other = place("experiments/other.py", experiment(value="1"))
    first = found("mine")
    other.write_text(experiment(value="2"))
    assert found("mine") == first
    place("experiments/deeper.py", "V = 2\n")
    assert found("mine")[0] == 2 and found("mine")[1] != first[1]


def test_an_experiment_whose_sibling_was_changed_by_way_of_another_is_afresh_too(place):
    for name in ("mine", "other"):
        place(f"experiments/{name}.py", experiment("from .helper2 import V"))
    place("experiments/helper2.py", "V = 1\n")
    assert found("mine")[0] == found("other")[0] == 1
    place("experiments/helper2.py", "V = 2\n")
    assert found("other")[0] == found("mine")[0] == 2


def test_data_count_in_a_package_but_no_run_no_cache_and_nothing_hidden(place):
    place("pk/__init__.py", "")
    place("pk/comp.py", experiment(value="1"))
    data = place("pk/data/table.csv", "1\n")
    first = found("pk.comp")
    for name in ("runs/a/plan.json", "runs/a/trials/b.json", ".git/a.txt", "__pycache__/a.txt", "a.log"):
        place(f"pk/{name}", "1")
    with open(place("pk/data/large.npy", ""), "wb") as file:
        file.truncate(16 * 2**20 + 1)
    assert found("pk.comp") == first
    data.write_text("2\n")
    assert found("pk.comp")[1] != first[1]


def test_the_same_source_elsewhere_has_the_same_digest(place, tmp_path, monkeypatch):
    digests = []
    for folder in ("a", "b"):
        place(f"{folder}/experiments/mine.py", experiment("from .helper2 import V"))
        place(f"{folder}/experiments/helper2.py", "V = 1\n")
        monkeypatch.chdir(tmp_path / folder)
        digests.append(found("mine"))
        assert registry.load("mine").file.parent.parent.name == folder
    assert digests[0] == digests[1]


def test_a_changed_sibling_is_no_run_to_resume(place):
    place("pk/comp.py", experiment("from pk.help import V"))
    place("pk/help.py", "V = 1\n")
    first = run({"experiment": "pk.comp"}, progress=False)
    assert run({"experiment": "pk.comp"}, progress=False).resumed == 1
    place("pk/help.py", "V = 2\n")
    second = run({"experiment": "pk.comp"}, progress=False)
    assert (second.resumed, int(first.dataset.y), int(second.dataset.y)) == (0, 1, 2)
    assert second.path != first.path


@pytest.mark.parametrize("line", ["from experiments.helper2 import V", "from .helper2 import V"])
@pytest.mark.parametrize("name", ["mine", "experiments.mine"])
def test_siblings_are_found_though_another_folder_of_that_name_comes_first(place, tmp_path, line, name):
    place("there/experiments/__init__.py", "")
    place("there/experiments/helper2.py", "V = 1\n")
    place("here/experiments/mine.py", experiment(line))
    place("here/experiments/helper2.py", "V = 2\n")
    code = f"""
import experiments.helper2, sys
sys.path = [p for p in sys.path if p != ""]
from jaxcalc.lab import registry
loaded = registry.load({name!r})
print(loaded.part.run(None, None)["y"], {str(tmp_path / "here")!r} in sys.path)
"""
    script = place("there/script.py", code)
    path = os.pathsep.join([str(Path(registry.__file__).parents[2]), *filter(None, [os.environ.get("PYTHONPATH")])])
    done = subprocess.run(
        [sys.executable, script],
        cwd=tmp_path / "here",
        env=os.environ | {"PYTHONPATH": path},
        capture_output=True,
        text=True,
    )
    assert done.stdout.split() == ["2", "True"], done.stderr


def test_a_folder_is_left_for_another_and_come_back_to(place, tmp_path, monkeypatch):
    for folder, value in (("a", 1), ("b", 2)):
        place(f"{folder}/experiments/mine.py", experiment("from experiments.helper2 import V"))
        place(f"{folder}/experiments/helper2.py", f"V = {value}\n")
    for folder, value in (("a", 1), ("b", 2), ("a", 1)):
        monkeypatch.chdir(tmp_path / folder)
        assert found("mine")[0] == value


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("x = 1 / 0", "__init__.py:1: ZeroDivisionError: division by zero"),
        ("raise AttributeError('gone')", "__init__.py:1: AttributeError: gone"),
        ("import nothing_of_this_name", "__init__.py:1: ModuleNotFoundError: No module named 'nothing_of_this_name'"),
        ("raise SystemExit(0)", "__init__.py:1: SystemExit: 0"),
        ("a b", "__init__.py:1: SyntaxError: invalid syntax"),
    ],
)
@pytest.mark.parametrize("name", ["pk.comp", "pk"])
def test_a_package_that_does_not_import_is_told(place, tmp_path, line, words, name):
    place("pk/comp.py", experiment(value="1"))
    place("pk/__init__.py", f"{line}\n")
    with pytest.raises(ConfigError) as caught:
        registry.load(name)
    assert f"experiment {name!r} does not import: {tmp_path}/pk/{words}" in str(caught.value)
    place("pk/__init__.py", experiment(value="1"))
    assert found(name)[0] == 1


def test_what_a_failed_import_had_imported_is_read_again(place):
    place("pk/__init__.py", "from .help import V\nif V == 1:\n    raise ValueError(V)\n")
    place("pk/help.py", "V = 1\n")
    place("pk/comp.py", experiment("from pk import V"))
    with pytest.raises(ConfigError, match="ValueError: 1"):
        registry.load("pk.comp")
    place("pk/help.py", "V = 20\n")
    assert found("pk.comp")[0] == 20


@pytest.mark.parametrize("name", ["nowhere", "no.where", "json.nowhere", "pk.nowhere", "", ".", "a..b", ".pk", "sys"])
def test_an_unknown_experiment(place, name):
    place("pk/__init__.py", "")
    with pytest.raises(ConfigError, match="unknown experiment"):
        registry.load(name)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"field": "seed"}, "Config has a field 'seed'"),
        ({"variable": "valid"}, "uses the name 'valid'"),
        ({"variable": "valid_step"}, "uses the name 'valid_step'"),
        ({"dims": "('valid',)"}, "uses the name 'valid'"),
    ],
)
def test_names_of_the_lab_are_refused(place, change, words):
    place("experiments/mine.py", experiment(value="1", **change))
    with pytest.raises(ConfigError, match=words):
        registry.load("mine")
    place("experiments/mine.py", experiment(value="1", variable="validity"))
    assert registry.load("mine").name == "mine"


@pytest.mark.parametrize("layout", LAYOUTS)
def test_an_experiment_is_found_from_another_folder_by_its_recorded_file(place, tmp_path, monkeypatch, layout):
    name, file, sibling, line = LAYOUTS[layout]
    path = place(f"lab/{file}", experiment(line))
    place(f"lab/{sibling}", "V = 1\n")
    (tmp_path / "away").mkdir()
    monkeypatch.chdir(tmp_path / "away")
    with pytest.raises(ConfigError, match="unknown experiment"):
        registry.load(name, tmp_path / "away", tmp_path / "gone.py")
    if layout == "file, beside":
        monkeypatch.syspath_prepend(str(tmp_path / "lab"))
    assert found(name, near=tmp_path / "away", file=path)[0] == 1
    assert registry.load(name, tmp_path / "away", path).file == path


def test_the_name_of_a_recorded_package_may_be_taken_here(place, tmp_path, monkeypatch):
    path = place("lab/pk/comp.py", experiment(value="1"))
    place("lab/pk/__init__.py", "")
    place("away/pk/__init__.py", "")
    monkeypatch.chdir(tmp_path / "away")
    assert found("pk.comp", file=path)[0] == 1
