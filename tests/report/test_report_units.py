import math

import pytest

from pipeline_lib.report import units


@pytest.mark.parametrize(
    ("shown", "expected"),
    [
        (units.decimal(0.12345, 3), "0.123"),
        (units.decimal(-1.5, 1), "\u22121.5"),
        (units.decimal(1234567, 0), "1\u202f234\u202f567"),
        (units.decimal(None, 3), "\u2013"),
        (units.decimal(math.nan, 3), "\u2013"),
        (units.count(None), "\u2013"),
        (units.count(0), "0"),
        (units.signed(0.5, 2), "+0.50"),
        (units.signed(0, 1), "+0.0"),
        (units.signed(-0.5, 2), "\u22120.50"),
        (units.interval(None, units.count), "\u2013"),
        (units.interval((1000, 2000), units.count), "1\u202f000 to 2\u202f000"),
        (units.interval((2000, 2500), units.length), "2.00 to 2.50 µm"),
        (units.interval((200, 2500), units.length), "200 nm to 2.50 µm"),
        (units.length(None), "\u2013"),
        (units.length(5.71), "5.7 nm"),
        (units.length(2), "2.0 nm"),
        (units.length(9.97), "10 nm"),
        (units.length(200), "200 nm"),
        (units.bar_length(5), "5 nm"),
        (units.bar_length(0.5), "0.5 nm"),
        (units.bar_length(500), "500 nm"),
        (units.bar_length(2000), "2 µm"),
        (units.length(999.6), "1.00 µm"),
        (units.length(9994), "9.99 µm"),
        (units.length(9996), "10.0 µm"),
        (units.length(123456), "123 µm"),
        (units.duration(0.04), "0.0 s"),
        (units.duration(9.97), "10 s"),
        (units.duration(59.6), "1 min 00 s"),
        (units.duration(200), "3 min 20 s"),
        (units.duration(3599.7), "1 h 00 min"),
        (units.duration(7260), "2 h 01 min"),
        (units.memory(999), "999 MB"),
        (units.memory(2040), "2.04 GB"),
        (units.tolerance("inf"), "\u221e"),
        (units.tolerance(50), "50"),
    ],
)
def test_numbers_as_read(shown: str, expected: str) -> None:
    assert shown == expected


@pytest.mark.parametrize(
    ("at_most_nm", "bar_nm"), [(1, 1), (1.99, 1), (350, 200), (500, 500), (999, 500), (1000, 1000), (0.3, 0.2)]
)
def test_scale_bars_are_round(at_most_nm: float, bar_nm: float) -> None:
    assert units.round_length_nm(at_most_nm) == pytest.approx(bar_nm)
