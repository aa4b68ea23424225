import base64
import io
import re
from dataclasses import replace

import matplotlib.image
import numpy as np
import pytest

from pipeline_lib.report.colours import distinct_palette
from pipeline_lib.report.contents import ReportContents, VolumeResult, read_results
from pipeline_lib.report.sections import cut_at, overlay, stretched
from pipeline_lib.report.worst_places import _few, errors_section
from pipeline_lib.volumes import open_array


@pytest.fixture
def result(contents: ReportContents) -> VolumeResult:
    """The test volume with its one split."""
    return read_results(contents)[0]


def pictures_of(markup: str) -> dict[str, np.ndarray]:
    found = re.findall(r'src="data:image/webp;base64,([^"]+)" alt="([^"]+)"', markup)
    return {alt: matplotlib.image.imread(io.BytesIO(base64.b64decode(data)), format="webp") for data, alt in found}


def test_an_error_is_shown_in_three_cuts_through_its_place(result: VolumeResult) -> None:
    error = result.errors[0]
    centre = tuple(int(error[f"{axis}_vox"]) for axis in "zyx")
    shown = pictures_of(errors_section([result]))
    volume, ids = result.volume, [int(i) for i in error["segments"].split()]
    whole = {"image": volume.image()[:], "segments": open_array(result.segmentation)[:], "true labels": volume.labels()[:]}
    whole["segments"] = np.where(np.isin(whole["segments"], ids), whole["segments"], 0)
    expected = {}
    planes = {name: whole["image"].take(centre[axis], axis) for axis, name in enumerate(("xy", "xz", "yz"))}
    for axis, name in enumerate(planes):
        grey = stretched(planes[name])
        wrong = whole["segments"].take(centre[axis], axis)
        # the split lies on one beam: no other true label is beneath its two segments
        truth = np.where(whole["true labels"].take(centre[axis], axis) == 11, 11, 0)
        expected[f"image, {name} cut, split 1 of test"] = np.repeat(grey[..., None], 3, axis=-1)
        expected[f"segments, {name} cut, split 1 of test"] = overlay(grey, wrong, distinct_palette(np.array(ids), hue=0.58))
        expected[f"true labels, {name} cut, split 1 of test"] = overlay(grey, truth, distinct_palette(np.array([11]), hue=0.1))
    assert shown.keys() == expected.keys()
    for name, pixels in expected.items():
        np.testing.assert_array_equal(shown[name][..., :3], np.round(np.clip(pixels, 0, 1) * 255), err_msg=name)


def test_a_gap_without_any_segment_shows_the_true_label_that_is_missing(result: VolumeResult) -> None:
    """At a voxel of the beam 22, which no segment of the error covers."""
    z, y, x = np.argwhere(result.volume.labels()[:] == 22)[100].tolist()
    place = {"z_nm": "1", "y_nm": "1", "x_nm": "1", "z_vox": str(z), "y_vox": str(y), "x_vox": str(x)}
    error = {"kind": "gap", "loss_nm": "12.0", "segments": "", "skeletons": "22", **place}
    markup = errors_section([replace(result, errors=(error,))])
    assert "<b>1. Gap, 12 nm</b>: no segment on skeleton 22" in markup
    shown = pictures_of(markup)
    for axis, name in enumerate(("xy", "xz", "yz")):
        grey = stretched(result.volume.image()[:].take((z, y, x)[axis], axis))
        truth = result.volume.labels()[:].take((z, y, x)[axis], axis)
        beam = overlay(grey, np.where(truth == 22, 22, 0), distinct_palette(np.array([22]), hue=0.1))
        plain = np.repeat(grey[..., None], 3, axis=-1)
        for title, expected in (("segments", plain), ("true labels", beam)):
            pixels = shown[f"{title}, {name} cut, gap 1 of test"][..., :3]
            np.testing.assert_array_equal(pixels, np.round(np.clip(expected, 0, 1) * 255), err_msg=f"{title}, {name}")


def test_each_picture_has_its_ring_and_each_row_one_scale_bar(result: VolumeResult) -> None:
    markup = errors_section([result])
    centre = [int(result.errors[0][f"{axis}_vox"]) for axis in "zyx"]
    assert (markup.count('class="ring"'), markup.count('class="scalebar"')) == (9, 3)
    for axis in range(3):
        cut = cut_at(axis, centre, result.volume.shape_vox, result.volume.voxel_size_nm, max_vox=96)
        down, right = cut.share_of(centre)
        assert markup.count(f'class="ring" style="top:{100 * down:.2f}%;left:{100 * right:.2f}%"') >= 3


def test_the_table_tells_place_and_loss(result: VolumeResult) -> None:
    error = {"kind": "merger", "loss_nm": "1234.5", "segments": "7", "skeletons": "3 4"}
    error |= {"z_nm": "100.0", "y_nm": "55.0", "x_nm": "45.0", "z_vox": "2", "y_vox": "5", "x_vox": "4"}
    markup = errors_section([replace(result, errors=(error,) * 12)])
    cells = ["merger", "1.23 µm", "100, 55, 45", "2, 5, 4", "7", "3, 4"]
    assert [re.findall(r"<td[^>]*>([^<]*)</td>", row) for row in re.findall(r"<tr>(<td.*?)</tr>", markup)] == [
        [str(number), *cells] for number in range(1, 13)
    ]
    assert "<summary>2 more</summary>" in markup
    assert markup.count('class="place"') == 6
    assert "<b>1. Merger, 1.23 µm</b>: segment 7 on skeleton 3, 4" in markup


def test_many_volumes_share_the_pictures(result: VolumeResult) -> None:
    six_errors = replace(result, errors=result.errors * 6)
    assert [errors_section([six_errors] * n).count('class="place"') for n in (1, 4, 8, 25)] == [6, 24, 24, 25]


def test_an_error_without_cost_has_no_picture_and_none_is_said_so(result: VolumeResult) -> None:
    markup = errors_section([replace(result, errors=(result.errors[0] | {"loss_nm": "0.0"},))])
    assert "split" in markup
    assert "<img" not in markup
    assert "No split, no gap and no merger." in errors_section([replace(result, errors=())])
    assert "No volume is scored against skeletons." in errors_section([replace(result, metrics=None)])


def test_without_labels_image_and_segments_are_shown(result: VolumeResult) -> None:
    bare = replace(result, volume=replace(result.volume, labels_path=None))
    assert len(pictures_of(errors_section([bare]))) == 2 * 3


@pytest.mark.parametrize(
    ("ids", "shown"), [("", ""), ("4", "4"), ("1 2 3 4 5", "1, 2, 3, 4, 5"), ("1 2 3 4 5 6 7", "1, 2, 3, 4, 5 and 2 more")]
)
def test_long_lists_of_ids_are_cut_short(ids: str, shown: str) -> None:
    assert _few(ids) == shown
