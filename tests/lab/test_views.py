"""Plotting and comparing runs."""

import numpy as np
import pytest
import xarray

from jaxcalc import style
from jaxcalc.lab.cli import main
from jaxcalc.lab.compare import compare
from jaxcalc.lab.errors import ConfigError
from jaxcalc.lab.join import save
from jaxcalc.lab.plot import draw


@pytest.fixture(scope="module")
def dataset():
    generator = np.random.default_rng(0)
    size, seed, step = np.array([1, 2, 4]), np.arange(5), np.arange(6)
    value = size[:, None, None, None] * np.exp(-step) * generator.uniform(0.9, 1.1, (3, 2, 5, 6))
    return xarray.Dataset(
        {
            "value": (("size", "case", "seed", "step"), value, {"units": "s", "long_name": "how long"}),
            "flag": (("size",), size > 1),
            "name": (("size",), np.array(["a", "b", "c"])),
        },
        coords={"size": size, "case": np.array(["plain", "other"]), "seed": seed, "step": step},
    )


@pytest.fixture
def file(dataset, tmp_path):
    def write(factor, name):
        changed = dataset.copy()
        changed["value"] = dataset.value * factor
        (tmp_path / name).mkdir()
        save(changed, tmp_path / name / "results.nc")
        return str(tmp_path / name)

    return write


def test_a_line_is_the_median_of_the_rest(dataset):
    with style.context():
        figure, name = draw(dataset, "value", "step", hue="size", log="y")
    (axis,) = figure.axes
    lines = [line for line in axis.lines if len(line.get_ydata()) == 6]
    assert name == "value" and len(lines) == 3 and axis.get_yscale() == "log"
    np.testing.assert_allclose(lines[2].get_ydata(), dataset.value.sel(size=4).median(("case", "seed")))
    assert axis.get_ylabel() == "how long (s)"


def test_rows_and_columns_are_panels(dataset):
    with style.context():
        figure, _ = draw(dataset, "value", "step", row="case", col="size")
    assert len(figure.axes) == 6


def test_masked_entries_are_not_drawn(dataset):
    masked = dataset.assign(valid=(("size",), np.array([True, True, False])), whole=(("size",), np.array([5, 6, 0])))
    with style.context():
        figure, _ = draw(masked, "whole", "size")
    np.testing.assert_array_equal(figure.axes[0].lines[0].get_xdata(), [1, 2])


@pytest.mark.parametrize(
    ("choice", "words"),
    [
        ({"y": "valeu"}, "did you mean 'value'"),
        ({"y": "name"}, "text"),
        ({"y": "value", "x": "stp"}, "did you mean 'step'"),
        ({"y": "value", "x": "step", "hue": "step"}, "one part only"),
        ({"y": "flag", "hue": "size"}, "no dimension left"),
    ],
)
def test_wrong_names_are_told(dataset, choice, words):
    with style.context(), pytest.raises(ConfigError, match=words):
        draw(dataset, **choice)


@pytest.mark.parametrize("suffix", ["svg", "png", "pdf"])
def test_plot_command(file, tmp_path, capsys, suffix):
    run = file(1.0, "run")
    out = tmp_path / f"deep/figure.{suffix}"
    assert main(["plot", run, "--y", "value", "--x", "step", "--select", "size=2", "--log", "xy", "-o", str(out)]) == 0
    assert out.stat().st_size > 1000 and capsys.readouterr().out.strip() == str(out)
    assert main(["plot", run]) == 0
    assert main(["plot", run, "-o", "figure.doc"]) == 2
    assert main(["plot", run, "--select", "size=3"]) == 2


def test_ratios_are_of_medians_and_their_intervals_hold_them(dataset):
    slower = dataset.copy()
    slower["value"] = dataset.value * 1.5
    ratios = compare(dataset, slower, "value")
    assert len(ratios) == 3 * 2 * 6
    for ratio in ratios:
        assert ratio.ratio == pytest.approx(1.5) and ratio.low <= 1.5 <= ratio.high
        assert 1.2 < ratio.low < ratio.high < 1.9


def test_runs_are_joined_on_their_coordinates(dataset):
    ratios = compare(dataset, dataset.sel(size=[2, 4], step=[0, 5]).isel(seed=slice(0, 3)), "value")
    assert {r.point for r in ratios} == {
        f"size={a}, case={b}, step={c}" for a in (2, 4) for b in ("plain", "other") for c in (0, 5)
    }


def test_intervals_cover_the_truth_about_as_often_as_they_say():
    generator = np.random.default_rng(1)
    shape = (200, 25)
    a, b = (xarray.Dataset({"t": (("p", "repeat"), generator.lognormal(0, 0.2, shape))}) for _ in "ab")
    covered = np.mean([r.low <= 1 <= r.high for r in compare(a, b, "t")])
    assert 0.88 <= covered <= 1.0


@pytest.mark.parametrize(("factor", "code"), [(1.5, 1), (1.0, 0), (0.5, 0)])
def test_compare_fails_past_the_threshold(file, tmp_path, capsys, factor, code):
    one, two = file(1.0, "one"), file(factor, "two")
    assert main(["compare", one, two, "--threshold", "1.1", "-v", "value"]) == code
    out = capsys.readouterr().out
    assert f"geometric mean of the ratios: {factor:g}" in out and (tmp_path / "two" / "compare.svg").exists()
    assert main(["compare", one, two, "-v", "valu"]) == 2


def test_nothing_in_common(file, dataset, tmp_path, capsys):
    one = file(1.0, "one")
    (tmp_path / "far").mkdir()
    save(dataset.assign_coords(size=[7, 8, 9]), tmp_path / "far" / "results.nc")
    assert main(["compare", one, str(tmp_path / "far"), "-v", "value"]) == 2
    assert "no point in common" in capsys.readouterr().err
