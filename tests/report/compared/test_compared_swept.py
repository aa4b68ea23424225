from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from pipeline_lib.report import ComparedRun, ReportContents
from pipeline_lib.report.compared.swept import (
    MISSING,
    canonical,
    differences,
    swept_paths,
    told,
    value_of,
)
from pipeline_lib.settings.sweep import short_names

BASE = {"seed": 0, "training": {"rate": 0.1, "steps": 100}, "sizes": [1, 2], "names": {}}


def run(changed: dict[str, Any], settings: dict[str, Any] | None = None) -> ComparedRun:
    here = Path("here")
    contents = ReportContents("p", (), here, (), here, None, here, here, BASE if settings is None else settings)
    return ComparedRun("name", changed, "same", "index.html", contents)


def test_a_value_comes_from_the_sweep_the_run_or_the_base() -> None:
    settings = {"training": {"rate": 0.2}}
    assert value_of(run({"training.rate": 0.3}, settings), "training.rate", BASE) == 0.3
    assert value_of(run({}, settings), "training.rate", BASE) == 0.2
    assert value_of(run({}, settings), "training.steps", BASE) == 100
    assert value_of(run({}, settings), "sizes.1", BASE) == 2
    assert value_of(run({"training.rate": None}, settings), "training.rate", BASE) is None
    for path in ("training.rate.more", "nothing", "sizes.2", "sizes.x"):
        assert value_of(run({}, settings), path, BASE) is MISSING


def test_swept_is_what_has_several_values() -> None:
    runs = [run({"training.rate": 0.1, "seed": 3}), run({"training.rate": 0.3, "seed": 3}), run({"seed": 3.0, "new": "x"})]
    assert swept_paths(runs, BASE) == ["training.rate", "new"]
    assert swept_paths(runs[:1], BASE) == []


@pytest.mark.parametrize(
    ("a", "b", "same"),
    [
        (1, 1.0, True),
        ("1", 1, False),
        (True, 1, False),
        (None, "null", False),
        ([1, 2], [1, 2], True),
        ([1, 2], [2, 1], False),
        ({"a": 1, "b": 2}, {"b": 2, "a": 1}, True),
        (1e-3, 0.001, True),
        (MISSING, "", False),
    ],
)
def test_equal_values(a: Any, b: Any, same: bool) -> None:
    assert (canonical(a) == canonical(b)) is same


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (0.0003, "0.0003"),
        (1e-7, "1e-07"),
        (100, "100"),
        ("rsunet", "rsunet"),
        (None, "null"),
        (True, "true"),
        ([1, 2, 2], "[1, 2, 2]"),
        ("µ", "µ"),
        (MISSING, "\u2013"),
    ],
)
def test_values_as_read(value: Any, expected: str) -> None:
    assert told(value) == expected


def test_names_are_as_short_as_can_be_told_apart() -> None:
    paths = ["training.rate", "network.rate", "seed", "deep.training.rate", "a.seed.b"]
    assert short_names(paths) == {
        "training.rate": "training.rate",
        "network.rate": "network.rate",
        "seed": "seed",
        "deep.training.rate": "deep.training.rate",
        "a.seed.b": "b",
    }


def test_differences_from_the_base() -> None:
    own = {**BASE, "training": {"rate": 0.1, "steps": 7}, "sizes": [1, 3]}
    del own["seed"]
    found = differences([run({}), run({"names.x": "new"}, own)], BASE)
    assert found == {
        "names.x": (MISSING, [MISSING, "new"]),
        "seed": (0, [0, MISSING]),
        "training.steps": (100, [100, 7]),
        "sizes": ([1, 2], [[1, 2], [1, 3]]),
    }
    assert differences([run({"seed": 0.0}), replace(run({}), name="other")], BASE) == {}
