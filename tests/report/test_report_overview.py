import json
from pathlib import Path
from typing import Any

import matplotlib.image
import pytest

from pipeline_lib.errors import UserError
from pipeline_lib.report import ReportContents, render_overview


def test_four_pictures_with_skeletons_three_without(finished_run: dict[str, Any], tmp_path: Path) -> None:
    render_overview(ReportContents.from_json(json.dumps(finished_run)), tmp_path / "four.png")
    volumes = {name: finished_run["volumes"][name] for name in ("train", "fresh")}
    render_overview(ReportContents.from_json(json.dumps({**finished_run, "volumes": volumes})), tmp_path / "three.png")
    four, three = (matplotlib.image.imread(tmp_path / f"{name}.png") for name in ("four", "three"))
    assert four.shape[1] / three.shape[1] == pytest.approx(4 / 3, abs=0.03)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["four.png", "three.png"]


def test_nothing_to_show_is_an_error(finished_run: dict[str, Any], tmp_path: Path) -> None:
    volumes = {"train": finished_run["volumes"]["train"]}
    with pytest.raises(UserError, match="beams has no test or val volume to show"):
        render_overview(ReportContents.from_json(json.dumps({**finished_run, "volumes": volumes})), tmp_path / "none.png")
