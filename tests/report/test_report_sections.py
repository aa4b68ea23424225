import numpy as np
import pytest

from pipeline_lib.report.colours import id_colours
from pipeline_lib.report.contents import ReportContents, read_results
from pipeline_lib.report.sections import central_cuts, cut_at, overlay, read_sections, section_palette, stretched


class Watched:
    """An array that notes how many values were read from it."""

    def __init__(self, values: np.ndarray) -> None:
        self.values, self.ndim, self.n_read = values, values.ndim, 0

    def __getitem__(self, key: tuple) -> np.ndarray:
        found = self.values[key]
        self.n_read += found.size
        return found


@pytest.mark.parametrize(("axis", "name"), [(0, "xy"), (1, "xz"), (2, "yz")])
def test_a_cut_reads_its_plane_and_nothing_else(axis: int, name: str) -> None:
    volume = np.arange(8 * 9 * 10).reshape(8, 9, 10)
    cut = central_cuts(volume.shape, (1, 1, 1), max_vox=100)[axis]
    assert cut.name == name
    array = Watched(volume)
    plane = volume.take(volume.shape[axis] // 2, axis)
    np.testing.assert_array_equal(cut.read(array), plane)
    assert array.n_read == plane.size
    channels = Watched(np.stack([volume + i for i in range(6)]))
    np.testing.assert_array_equal(cut.read(channels), np.stack([plane, plane + 1, plane + 2]))
    assert channels.n_read == 3 * plane.size


def test_a_cut_is_bounded_in_nm_and_stays_inside() -> None:
    shape, size_nm = (50, 400, 400), (40.0, 10.0, 10.0)
    middle = cut_at(1, (25, 200, 200), shape, size_nm, max_vox=100)
    assert (middle.start_vox, middle.stop_vox) == ((13, 150, 150), (38, 250, 250))
    assert middle.extent_nm == (1000, 1000)
    assert middle.position_nm == 2005
    corner = cut_at(0, (0, 399, 3), shape, size_nm, max_vox=100)
    assert (corner.start_vox, corner.stop_vox) == ((0, 300, 0), (25, 400, 100))
    assert corner.share_of((0, 399, 3)) == pytest.approx((0.995, 0.035))


def test_what_a_finished_run_shows(contents: ReportContents) -> None:
    scored, fresh, _ = read_results(contents)
    cuts = central_cuts(scored.volume.shape_vox, scored.volume.voxel_size_nm, max_vox=100)
    shown = read_sections(scored, cuts)
    assert [s.image.shape for s in shown] == [(24, 30), (10, 30), (10, 24)]
    assert shown[0].affinities.shape == (3, 24, 30)
    assert shown[1].affinities.max() == pytest.approx(240 / 255)
    palette = section_palette(shown)
    segments, truth = shown[1].segments, shown[1].truth
    assert truth is not None
    right = (segments != 0) & (truth == 22)
    np.testing.assert_allclose(palette.of(segments[right]), id_colours(truth[right]))
    unscored = read_sections(fresh, cuts)
    assert unscored[0].truth is None
    np.testing.assert_array_equal(section_palette(unscored).of(segments), id_colours(segments))


def test_overlays_colour_labels_and_leave_background_grey() -> None:
    image = np.full((3, 4), 0.5)
    labels = np.array([[0, 7, 7, 8], [0, 7, 7, 8], [0, 0, 7, 8]])
    rgb = overlay(image, labels, strength=0.4)
    np.testing.assert_allclose(rgb[labels == 0], 0.5)
    np.testing.assert_allclose(rgb[0, 1], 0.3 + 0.4 * id_colours(np.array(7)))
    assert np.all(rgb[:, 2] < rgb[0, 1])  # the border between 7 and 8


def test_contrast_is_stretched() -> None:
    image = np.arange(1000).reshape(10, 100)
    found = stretched(image)
    assert (found.min(), found.max()) == (0, 1)
    assert found[5, 50] == pytest.approx((550 - 4.995) / (994.005 - 4.995))
    np.testing.assert_array_equal(stretched(np.full((2, 2), 9)), 0)
