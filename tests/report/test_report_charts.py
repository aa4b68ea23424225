import xml.etree.ElementTree as ET

import numpy as np
import pytest

from pipeline_lib.report import charts

ROWS = [
    {"step": "10", "training_loss": "0.5", "validation_loss": ""},
    {"step": "20", "training_loss": "", "validation_loss": "0.6"},
    {"step": "30", "training_loss": "0.25", "validation_loss": "0.4"},
]
LENGTHS = np.array([1000.0, 0.0, 3000.0])


@pytest.mark.parametrize(
    "paint",
    [
        lambda: charts.loss_chart(ROWS, chosen_step=30),
        lambda: charts.loss_chart([]),
        lambda: charts.step_chart(ROWS, "training_loss", "loss"),
        lambda: charts.tolerance_chart({"test": {"0": 0.5, "inf": 0.9}, "val": {"0": 0.4, "inf": 0.8}}),
        lambda: charts.run_length_chart(LENGTHS, LENGTHS / 2, np.array([True, False, False])),
        lambda: charts.run_fraction_chart(LENGTHS, LENGTHS / 2, np.array([True, False, False])),
    ],
)
def test_a_chart_is_sound_svg_and_the_same_each_time(paint) -> None:
    text = paint()
    assert ET.fromstring(text).tag == "{http://www.w3.org/2000/svg}svg"
    assert paint() == text


def test_many_skeletons_are_drawn_as_pixels() -> None:
    lengths = np.linspace(100, 5000, 20000)
    assert len(charts.run_length_chart(lengths, lengths / 2, np.zeros(20000, bool))) < 200_000


def test_empty_cells_are_no_points() -> None:
    steps, losses = charts.column_pair(ROWS, "training_loss")
    np.testing.assert_array_equal([steps, losses], [[10, 30], [0.5, 0.25]])
    steps, missing = charts.column_pair(ROWS, "no such column")
    assert (steps.shape, missing.shape) == ((0,), (0,))


@pytest.mark.parametrize("n", [1, 3, 200])
def test_smoothing_is_a_running_mean(n: int) -> None:
    values = np.random.default_rng(0).random(n)
    reach = max(1, n // 40)
    expected = [values[max(0, i - reach) : i + reach + 1].mean() for i in range(n)]
    np.testing.assert_allclose(charts.smoothed(values), expected)
