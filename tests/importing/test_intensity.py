from __future__ import annotations

import numpy as np
import pytest

from pipeline_lib.importing import intensity
from pipeline_lib.importing.intensity import percentiles_of, to_uint8

PERCENTILES = (0.0, 0.1, 33.3, 50.0, 99.9, 100.0)


def _random(dtype: str, rng: np.random.Generator) -> np.ndarray:
    if np.dtype(dtype).kind in "iu":
        low, high = max(np.iinfo(dtype).min, -(2**24)), min(np.iinfo(dtype).max, 2**24)  # exact as float32
        return rng.integers(low, high, (20, 33, 41), dtype=dtype)
    values = rng.normal(0, 1000, (20, 33, 41)).astype(np.float32).astype(dtype)
    values[0, 0, :5] = np.float32([0.0, -0.0, 1e-30, -1e-30, 1e30]) if dtype != "float16" else 0
    return values


@pytest.mark.parametrize(
    "dtype", ["uint8", "int8", "uint16", "int16", "uint32", "int32", "int64", "float16", "float32", "float64"]
)
def test_percentiles_equal_those_of_numpy(rng, monkeypatch, dtype):
    monkeypatch.setattr(intensity, "PART_VOX", 1000)
    values = _random(dtype, rng)
    found = percentiles_of(lambda: np.array_split(values, 3), values.dtype, PERCENTILES)
    np.testing.assert_allclose(found, np.percentile(values.astype(np.float64), PERCENTILES), rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("dtype", ["uint8", "float32"])
@pytest.mark.parametrize("n", [1, 2, 3])
def test_percentiles_of_few_values(dtype, n):
    values = np.array([7, 3, 250], dtype)[:n]
    np.testing.assert_array_equal(
        percentiles_of(lambda: [values], values.dtype, (0, 50, 100)), np.percentile(values, (0, 50, 100))
    )


def test_small_integers_are_read_once(rng):
    values, calls = rng.integers(0, 255, (5, 5, 5), dtype=np.uint8), []
    percentiles_of(lambda: calls.append(1) or [values], values.dtype, (1, 99))
    assert len(calls) == 1


def test_nan_has_no_percentile():
    values = np.array([1.0, np.nan], np.float32)
    with pytest.raises(ValueError, match="NaN has no percentile"):
        percentiles_of(lambda: [values], values.dtype, (1, 99))


@pytest.mark.parametrize("dtype", ["uint8", "int16", "uint16", "int32", "float16", "float32", "float64"])
@pytest.mark.parametrize("limits", [(10, 90), (-50.5, 120.25), (0, 255)])
def test_values_become_uint8(rng, dtype, limits):
    values = rng.integers(0, 100, (4, 5, 6)).astype(dtype)
    low, high = limits
    exact = (values.astype(np.float64) - low) / (high - low) * 255
    found = to_uint8(values, low, high)
    assert found.dtype == np.uint8
    assert np.abs(found - np.clip(exact, 0, 255)).max() <= 0.5 + 1e-9


def test_the_ends_of_the_range_are_0_and_255():
    values = np.array([[[-1e9, 99.999, 100, 150, 200, 200.001, 1e9]]])
    np.testing.assert_array_equal(to_uint8(values, 100, 200), [[[0, 0, 0, 128, 255, 255, 255]]])


def test_uint8_over_the_full_range_stays_as_it_is():
    values = np.arange(256, dtype=np.uint8).reshape(4, 8, 8)
    np.testing.assert_array_equal(to_uint8(values, 0, 255), values)


def test_an_empty_range_is_refused():
    with pytest.raises(ValueError, match="low must be below high, got 3 and 3"):
        to_uint8(np.zeros((1, 1, 1)), 3, 3)
