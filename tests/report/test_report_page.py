import base64
import io
import json
import re
import xml.etree.ElementTree as ET
from pathlib import Path
from typing import Any

import matplotlib.image
import pytest
from page_reader import Reader

from pipeline_lib.errors import UserError
from pipeline_lib.report import ReportContents, charts, headline_text, write_report


class ReportReader(Reader):
    """Of a report, which has no script and says of each image what it shows."""

    def __init__(self, page: str) -> None:
        super().__init__(page)
        assert self.n_scripts == 0
        assert all(self.alts)


def write(told: dict[str, Any], folder: Path) -> ReportReader:
    output = folder / "report" / "index.html"
    write_report(ReportContents.from_json(json.dumps(told)), output)
    return ReportReader(output.read_text(encoding="utf-8"))


@pytest.fixture
def no_charts(monkeypatch: pytest.MonkeyPatch) -> None:
    """Charts take most of the time of a page; each has its own test."""
    monkeypatch.setattr(charts, "draw", lambda paint: "<svg></svg>")


def metrics_of(told: dict[str, Any], volume: str) -> dict[str, Any]:
    return json.loads((Path(told["evaluation"]) / volume / "metrics.json").read_text())


@pytest.fixture(scope="module")
def page(finished_run: dict[str, Any], tmp_path_factory: pytest.TempPathFactory) -> ReportReader:
    return write(finished_run, tmp_path_factory.mktemp("page"))


def test_the_headline_numbers_are_there(page: ReportReader, finished_run: dict[str, Any]) -> None:
    scores = metrics_of(finished_run, "test-0003")
    skeletons, voxels = scores["skeletons"], scores["voxels"]
    assert f"NERL {skeletons['nerl']:.3f} at merge tolerance 0 nodes" in page.text
    assert f"VOI at skeleton nodes {skeletons['voi_split']:.3f} + {skeletons['voi_merge']:.3f}" in page.text
    assert f"VOI in voxels {voxels['voi_split']:.3f} + {voxels['voi_merge']:.3f}" in page.text
    assert (skeletons["n_splits"], skeletons["n_non0_mergers"]) == (1, 0)
    assert "Errors 1 split, 0 mergers on 6 skeletons, 90 nodes" in page.text
    assert "chosen on val by NERL." in page.text
    assert "val, used to choose" in page.text
    for value in skeletons["nerl_by_tolerance"].values():
        assert f"{value:.3f}" in page.text


def test_nothing_is_fetched(page: ReportReader) -> None:
    assert all(source.startswith("data:") for source in page.sources)
    assert all(link.startswith("#") or link == "data:," for link in page.links)
    assert {link[1:] for link in page.links if link.startswith("#")} == page.anchors


def test_the_style_fetches_nothing_either(page: ReportReader) -> None:
    assert not re.search(r"https?:|url\(|@import|<script|src=\"(?!data:)", page.raw)


def test_every_image_decodes(page: ReportReader) -> None:
    kinds = {"image/webp": 0, "image/svg+xml": 0}
    for source in page.sources:
        kind, data = source.removeprefix("data:").split(";base64,")
        kinds[kind] += 1
        if kind == "image/webp":
            assert matplotlib.image.imread(io.BytesIO(base64.b64decode(data)), format="webp").size > 0
        else:
            assert ET.fromstring(base64.b64decode(data)).tag.endswith("svg")
    n_errors = 2 * 3 * 3  # one split in val and in test, three panels in three cuts each
    assert kinds == {"image/webp": 3 * (4 + 4 + 3) + n_errors, "image/svg+xml": 3 + 4 + 1 + 2 * 2}


def test_a_volume_without_truth_is_shown_and_called_so(page: ReportReader) -> None:
    assert "No truth for fresh: segmented and shown below, not scored." in page.text
    assert "No truth: not scored." in page.text


def test_errors_are_listed_with_their_places(page: ReportReader, finished_run: dict[str, Any]) -> None:
    header, *rows = (Path(finished_run["evaluation"]) / "test-0003" / "errors.csv").read_text().splitlines()
    assert len(rows) == 1
    error = dict(zip(header.split(","), rows[0].split(","), strict=True))
    assert f"{error['z_vox']}, {error['y_vox']}, {error['x_vox']}" in page.text
    assert ", ".join(f"{float(error[f'{axis}_nm']):.0f}" for axis in "zyx") in page.text


def test_settings_versions_and_folders_are_there(page: ReportReader, finished_run: dict[str, Any]) -> None:
    assert "note: <b> & 'quotes'" in page.text
    assert "torch 9.8.7" in page.text
    assert "reason twice as fast" in page.text
    for name in ("model", "prediction", "sweep", "segmentation", "evaluation"):
        assert finished_run[name] in page.text


@pytest.mark.usefixtures("no_charts")
def test_a_stage_without_record_is_not_recorded(own_run: dict[str, Any], tmp_path: Path) -> None:
    before = write(own_run, tmp_path).text.count("not recorded")
    (Path(own_run["segmentation"]) / "test-0003" / "record.json").unlink()
    assert write(own_run, tmp_path).text.count("not recorded") == before + 2  # time and memory


@pytest.mark.usefixtures("no_charts")
def test_a_model_without_records_is_said_to_have_none(own_run: dict[str, Any], tmp_path: Path) -> None:
    for name in ("metrics.csv", "plan.json"):
        (Path(own_run["model"]) / name).unlink()
    text = write(own_run, tmp_path).text
    assert "Losses: not recorded." in text
    assert "Plan: not recorded." in text


@pytest.mark.usefixtures("no_charts")
def test_names_and_paths_are_escaped(own_run: dict[str, Any], tmp_path: Path) -> None:
    own_run["project"] = '<i>odd</i> & "quoted" it\'s'
    page = write(own_run, tmp_path)
    assert own_run["project"] in page.text
    assert own_run["model"] in page.text
    assert "<i>" not in page.raw
    assert "<run>" not in page.raw


@pytest.mark.usefixtures("no_charts")
def test_a_given_threshold_has_no_curve(finished_run: dict[str, Any], tmp_path: Path) -> None:
    told = {**finished_run, "sweep": None, "settings": {"segmentation": {"threshold": 0.5}}}
    text = write(told, tmp_path).text
    assert "Threshold 0.5, given by the settings." in text
    assert "Given by the settings: 0.5. Nothing was swept." in text


@pytest.mark.usefixtures("no_charts")
def test_a_warning_is_shown(own_run: dict[str, Any], tmp_path: Path) -> None:
    path = Path(own_run["sweep"]) / "choice.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"warning": "look <here>"}))
    assert "Warning: look <here>" in write(own_run, tmp_path).text


@pytest.mark.usefixtures("no_charts")
def test_scores_of_val_alone_are_marked(finished_run: dict[str, Any], tmp_path: Path) -> None:
    volumes = {name: part for name, part in finished_run["volumes"].items() if name != "test"}
    text = write({**finished_run, "volumes": volumes}, tmp_path).text
    assert "These are scores of volumes that choices were made on: expect less of new data." in text


@pytest.mark.usefixtures("no_charts")
def test_nothing_scored_at_all(finished_run: dict[str, Any], tmp_path: Path) -> None:
    volumes = {name: finished_run["volumes"][name] for name in ("train", "fresh")}
    told = {**finished_run, "volumes": volumes, "sweep": None, "settings": {"segmentation": {"threshold": 0.5}}}
    text = write(told, tmp_path).text
    assert "No volume is scored." in text
    assert text.count("No volume is scored against skeletons.") == 2


@pytest.mark.usefixtures("no_charts")
def test_voxel_scores_alone(own_run: dict[str, Any], tmp_path: Path) -> None:
    for volume in ("val-0002", "test-0003"):
        folder = Path(own_run["evaluation"]) / volume
        (folder / "metrics.json").write_text(json.dumps(metrics_of(own_run, volume) | {"skeletons": None}))
        (folder / "skeletons.csv").unlink()
    curve = Path(own_run["sweep"]) / "val-0002" / "curve.json"
    told = json.loads(curve.read_text())
    curve.write_text(json.dumps(told | {"points": [point | {"skeletons": None} for point in told["points"]]}))
    text = write(own_run, tmp_path).text
    assert "VOI in voxels" in text
    assert "NERL by merge tolerance" not in text


@pytest.mark.usefixtures("no_charts")
def test_the_lines_for_the_terminal_stand_beside_the_page(finished_run: dict[str, Any], tmp_path: Path) -> None:
    write(finished_run, tmp_path)
    assert sorted(path.name for path in (tmp_path / "report").iterdir()) == ["headline.txt", "index.html", "overview.png"]
    expected = headline_text(ReportContents.from_json(json.dumps(finished_run)))
    assert (tmp_path / "report" / "headline.txt").read_text() == expected


@pytest.mark.usefixtures("no_charts")
def test_an_error_leaves_nothing_half_written(own_run: dict[str, Any], tmp_path: Path) -> None:
    (Path(own_run["sweep"]) / "val-0002" / "curve.json").write_text("{")
    with pytest.raises(UserError, match=r"curve\.json"):
        write(own_run, tmp_path)
    assert not (tmp_path / "report").exists()


def test_equal_results_give_an_equal_page(page: ReportReader, finished_run: dict[str, Any], tmp_path: Path) -> None:
    assert write(finished_run, tmp_path).raw == page.raw
