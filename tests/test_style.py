"""What a chart draws: medians, bands, theory, slopes, zeros and labels, read from the figure."""

import numpy as np
import pytest
import xarray
from matplotlib.colors import to_rgb

from jaxcalc import style


@pytest.fixture(scope="module")
def errors():
    """Errors n^-1 and n^-2 by seed, the second exactly zero at the last."""
    n = np.array([10.0, 100.0, 1000.0])
    scale = np.array([1.0, 2.0, 4.0])
    values = np.stack([n**-1.0, n**-2.0])[:, :, None] * scale
    values[1, 2] = 0.0
    return xarray.DataArray(
        values,
        dims=("method", "n", "seed"),
        coords={"method": ["forward", "reverse"], "n": ("n", n, {"long_name": "points", "units": "1"})},
        name="error",
    )


def lines(panel, label):
    return [line for line in panel.lines if line.get_label() == label]


def test_a_line_is_the_median_and_its_band_the_quartiles(errors):
    with style.context():
        _, panels = style.chart(errors, "n", hue="method", log="xy")
    (line,) = lines(panels[0, 0], "forward")
    np.testing.assert_allclose(line.get_ydata(), 2.0 / errors.n)
    edge = panels[0, 0].collections[0].get_paths()[0].vertices[:, 1]
    assert edge.min() == pytest.approx(1.5e-3) and edge.max() == pytest.approx(0.3)
    assert panels[0, 0].get_xlabel() == "points (1)"


def test_an_exact_zero_stands_at_the_foot_of_a_logarithmic_axis(errors):
    with style.context():
        _, panels = style.chart(errors, "n", hue="method", log="xy")
    (line,) = lines(panels[0, 0], "reverse")
    assert np.isnan(line.get_ydata()[2])
    (foot,) = [line for line in panels[0, 0].lines if line.get_marker() == "v"]
    np.testing.assert_array_equal(foot.get_xdata(), [1000.0])


def test_a_method_keeps_its_colour_in_every_panel_and_legend(errors):
    with style.context():
        figure, panels = style.chart(errors, "n", hue="method", col="seed", log="xy", legend="ends")
    assert panels.shape == (1, 3) and [p.get_title("left") for p in panels.flat] == [f"seed = {k}" for k in range(3)]
    for panel in panels.flat:
        assert lines(panel, "forward")[0].get_color() == style.method("forward")["color"]
    written = [text.get_text() for text in panels[0, 0].texts]
    assert written[0] in ("forward", "0") and {"forward", "reverse"} <= set(written)
    assert not figure.legends


def test_slopes_are_dashed_below_the_line_that_they_are_of(errors):
    with style.context():
        _, panels = style.chart(errors, "n", hue="method", log="xy", slopes={"forward": -1.0})
    (dashed,) = [line for line in panels[0, 0].lines if line.get_linestyle() == "--"]
    x, y = dashed.get_xdata(), dashed.get_ydata()
    assert np.polyfit(np.log(x), np.log(y), 1)[0] == pytest.approx(-1.0)
    assert (y < 2.0 / errors.n.values).all()


def test_theory_may_lack_the_hue(errors):
    theory = errors.isel(method=0, seed=0, drop=True)
    with style.context():
        _, panels = style.chart(errors, "n", hue="method", theory=theory)
    (dashed,) = [line for line in panels[0, 0].lines if line.get_linestyle() == "--"]
    np.testing.assert_array_equal(dashed.get_ydata(), theory)


def test_named_values_are_hues_and_texts_are_ticks(errors):
    flat = errors.isel(n=0)
    with style.context():
        _, panels = style.chart({"small": flat, "large": 10 * flat}, "method", legend="upper left")
    assert [tick.get_text() for tick in panels[0, 0].get_xticklabels()] == ["forward", "reverse"]
    assert [text.get_text() for text in panels[0, 0].get_legend().get_texts()] == ["small", "large"]


def test_panels_wrap_into_rows(errors):
    with style.context():
        _, panels = style.chart(errors, "n", col="seed", wrap=2)
    assert panels.shape == (2, 2) and not panels[1, 1].axison


@pytest.mark.parametrize(
    ("roles", "says"),
    [({"x": "m"}, "no dimension 'm'"), ({"x": "n", "hue": "n"}, "plays two parts"), ({"x": "n", "col": "k"}, "'k'")],
)
def test_wrong_names_are_refused(errors, roles, says):
    with pytest.raises(ValueError, match=says):
        style.chart(errors, **roles)


@pytest.mark.parametrize("name", sorted(style.COLORS))
def test_text_in_any_colour_can_be_read(name):
    def luminance(color):
        return sum(
            w * (c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4)
            for w, c in zip((0.2126, 0.7152, 0.0722), to_rgb(color))
        )

    assert 1.05 / (luminance(style.ink(style.COLORS[name])) + 0.05) >= 4.5


def test_cells_carry_texts_that_can_be_read_and_ticks_of_their_coordinates():
    texts = xarray.DataArray([["a", "b", "c"], ["d", "e", "f"]], dims=("m", "n"), coords={"m": [1, 2], "n": [4, 5, 6]})
    faces = np.zeros((2, 3, 3))
    faces[0] = 1.0
    with style.context():
        _, panel = style.subplots()
        style.cells(panel, texts, faces)
    assert [text.get_text() for text in panel.texts] == list("abcdef")
    assert [text.get_color() for text in panel.texts] == 3 * ["black"] + 3 * ["white"]
    assert [label.get_text() for label in panel.get_xticklabels()] == ["4", "5", "6"]
    assert [label.get_text() for label in panel.get_yticklabels()] == ["1", "2"]
    assert panel.get_ylim()[0] < panel.get_ylim()[1]


def test_a_legend_writes_a_solver_as_people_do():
    labels = [look["label"] for look in style.looks(["newton-cg", "gradient-descent", "mine"])]
    assert labels == ["Newton-CG", "gradient descent", "mine"] and style.method("bfgs")["label"] == "BFGS"
    assert style.method("bfgs", label="theirs")["label"] == "theirs"


def test_names_at_the_ends_keep_apart_and_inside(errors):
    near = xarray.DataArray(
        [[1.0, 2.0], [1.0, 2.001], [1.0, 2.002], [1.0, 1.0]],
        dims=("method", "n"),
        coords={"method": ["forward", "reverse", "sparse", "newton"], "n": [0.0, 1.0]},
        name="height",
    )
    with style.context():
        figure, panels = style.chart(near, "n", hue="method", legend="ends")
        figure.draw_without_rendering()
    scale = figure.dpi / 72
    at = {t.get_text(): panels[0, 0].transData.transform(t.xy)[1] / scale + t.xyann[1] for t in panels[0, 0].texts}
    heights = sorted(at.values())
    assert set(at) == {"forward", "reverse", "sparse", "Newton"}
    assert np.diff(heights).min() > 7.0  # a line of text
    low, high = panels[0, 0].bbox.y0 / scale, panels[0, 0].bbox.y1 / scale
    assert low - 1 <= heights[0] and heights[-1] <= high + 1
    assert any(text.arrow_patch is not None for text in panels[0, 0].texts)


def test_named_lines_may_each_have_an_axis_of_their_own():
    line = lambda n: xarray.DataArray(np.arange(1.0, n + 1), dims="n", coords={"n": np.arange(n)}, name="y")
    with style.context():
        _, panels = style.chart({"short": line(3), "long": line(6)}, "n", legend=None)
    assert [len(drawn.get_xdata()) for drawn in panels[0, 0].lines] == [3, 6]


def test_many_points_have_markers_unless_a_line_says_as_much():
    x = np.arange(1.0, 60.0)
    values = xarray.DataArray(x, dims="n", coords={"n": x}, name="error")
    with style.context():
        for look, marker in (({"linestyle": "", "marker": "o"}, "o"), ({"marker": "o"}, "")):
            _, panels = style.chart(values, "n", **look)
            assert panels[0, 0].lines[0].get_marker() == marker


def test_rows_run_down_with_dots_at_medians_and_bars_between_quartiles():
    values = xarray.DataArray(
        [[1.0, 2.0, 3.0], [0.0, 0.0, 0.0], [np.nan, np.nan, np.nan]],
        {"solver": ["a", "b", "c"]},
        ("solver", "seed"),
    )
    with style.context():
        _, panel = style.subplots()
        panel.set_xscale("log")
        low, middle, high = style.rows(panel, values, "solver", shift=0.25, color="black", marker="o")
    np.testing.assert_array_equal([low[0], middle[0], high[0]], [1.5, 2.0, 2.5])
    assert np.isnan(middle[2])
    dots, edge = panel.lines
    np.testing.assert_array_equal(dots.get_xdata()[:2], [2.0, np.nan])
    np.testing.assert_array_equal(dots.get_ydata(), [0.25, 1.25, 2.25])
    np.testing.assert_array_equal(edge.get_ydata(), [1.25])
    assert [text.get_text() for text in panel.get_yticklabels()] == ["a", "b", "c"]
    assert panel.get_ylim() == (2.5, -0.5)


def test_several_panels_have_letters_and_ticks_are_plain_numbers():
    letters = lambda panels: [text.get_text() for panel in np.ravel(panels) for text in panel.texts]
    with style.context():
        _, panels = style.subplots(1, 3)
        assert letters(panels) == ["a", "b", "c"]
        assert letters(style.subplots(1, 2, letters=False)[1]) == letters(style.subplots()[1]) == []
        panels[0].set_xscale("log")
        style.ticks(panels[0].xaxis, [2, 0.5, 4000])
    assert [text.get_text() for text in panels[0].get_xticklabels()] == ["2", "0.5", "4000"]
    assert not len(panels[0].get_xticks(minor=True))
