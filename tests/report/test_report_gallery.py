import numpy as np
import pytest

from pipeline_lib.report.contents import ReportContents, read_results
from pipeline_lib.report.gallery import _evidence, _few, _telling_cut


def test_a_split_is_shown_where_both_segments_are_seen(contents: ReportContents) -> None:
    """The beam runs along x and is cut across it: no yz section shows both parts."""
    result = read_results(contents)[0]
    error = result.errors[0]
    centre = [int(error[f"{axis}_vox"]) for axis in "zyx"]
    ids = np.array([int(i) for i in error["segments"].split()])
    cut = _telling_cut(result, centre, ids)
    assert cut.name in ("xy", "xz")
    shown = cut.read(np.asarray(_segments(result)))
    assert all(np.any(shown == i) for i in ids)
    assert abs(cut.index_vox - centre[cut.axis]) <= 2


def _segments(result) -> np.ndarray:
    from pipeline_lib.volumes import open_array

    return open_array(result.segmentation)[:]


def test_evidence_counts_the_lesser_part() -> None:
    segments = np.array([[1, 1, 1, 2], [3, 3, 3, 3]])
    truth = np.array([[9, 9, 8, 8], [0, 7, 7, 7]])
    assert _evidence(segments, truth, np.array([1, 2])) == 1
    assert _evidence(segments, truth, np.array([1, 5])) == 0
    assert _evidence(segments, truth, np.array([1])) == 1
    assert _evidence(segments, truth, np.array([3])) == 0
    assert _evidence(segments, None, np.array([3])) == 4


@pytest.mark.parametrize(
    ("ids", "shown"), [("", ""), ("4", "4"), ("1 2 3 4 5", "1, 2, 3, 4, 5"), ("1 2 3 4 5 6 7", "1, 2, 3, 4, 5 and 2 more")]
)
def test_long_lists_of_ids_are_cut_short(ids: str, shown: str) -> None:
    assert _few(ids) == shown
