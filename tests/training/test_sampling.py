"""Patches are pure functions of seed and index, with targets by the published rule; borders and gaps are handled."""

import pickle

import numpy as np
import pytest

from pipeline_lib.errors import UserError
from pipeline_lib.geometry import Box
from pipeline_lib.settings.learning import AugmentSettings, TargetSettings
from pipeline_lib.training.sampling import CropShape, PatchSampler, labelled_region, read_sample

NO_AUGMENTATION = None
TARGETS = TargetSettings(offsets_vox=((1, 0, 0), (0, 1, 0), (0, 0, 1), (0, 4, 0), (-2, 0, 1)), erode_labels_vox=0)
PATCH = (8, 10, 12)


def sampler_of(volumes, *, patch_vox=PATCH, targets=TARGETS, augmentation=NO_AUGMENTATION, seed=7, stream=0):
    return PatchSampler(volumes, patch_vox=patch_vox, targets=targets, augmentation=augmentation, seed=seed, stream=stream)


def blocks(shape, size=5):
    """Dense labels: boxes of `size` voxels, each its own id."""
    z, y, x = (index // size for index in np.indices(shape))
    return (1 + x + 100 * (y + 100 * z)).astype(np.uint32)


def coded_image(shape):
    """Grey values that tell where a voxel is, up to 256 voxels."""
    return (np.arange(np.prod(shape)) * 37 % 251).astype(np.uint8).reshape(shape)


def find(patch_image, volume_image):
    """All places of a patch in a volume."""
    n = patch_image.shape
    starts = np.ndindex(*(s - p + 1 for s, p in zip(volume_image.shape, n, strict=True)))
    return [
        s
        for s in starts
        if np.array_equal(volume_image[tuple(slice(a, a + m) for a, m in zip(s, n, strict=True))], patch_image)
    ]


def brute_force(labels, labelled, start, offsets, patch):
    """Affinities and validity voxel by voxel; `labels` and `labelled` cover the whole volume."""
    target, valid = np.zeros((len(offsets), *patch), bool), np.zeros((len(offsets), *patch), bool)
    for c, offset in enumerate(offsets):
        for v in np.ndindex(*patch):
            a = tuple(int(n) + m for n, m in zip(v, start, strict=True))
            b = tuple(n + m for n, m in zip(a, offset, strict=True))
            if all(0 <= n < size for n, size in zip(b, labels.shape, strict=True)):
                valid[(c, *v)] = labelled[a] and labelled[b]
                target[(c, *v)] = labelled[a] and labelled[b] and labels[a] == labels[b] != 0
    return target, valid


def test_patches_are_cut_from_the_volume_with_the_affinities_of_their_place(make_volume):
    shape = (14, 18, 16)
    rng = np.random.default_rng(0)
    labels, mask = blocks(shape), (rng.random(shape) < 0.9).astype(np.uint8)
    image = rng.integers(0, 256, shape).astype(np.uint8)
    sampler = sampler_of([make_volume("a", image, labels, mask)])
    starts = set()
    for index in range(12):
        patch = sampler[index]
        assert patch.image.shape == (1, *PATCH)
        assert patch.image.dtype == np.float32
        (start,) = find(np.rint(patch.image[0] * 255).astype(np.uint8), image)
        target, valid = brute_force(labels, mask != 0, start, TARGETS.offsets_vox, PATCH)
        np.testing.assert_array_equal(patch.valid, valid)
        np.testing.assert_array_equal(patch.target & patch.valid, target & valid)
        starts.add(start)
    assert len(starts) > 8


def test_a_sample_depends_on_seed_stream_and_index_alone(make_volume):
    volume = make_volume("a", coded_image((24, 24, 24)), blocks((24, 24, 24)))
    augmentation = AugmentSettings(blur_vox=0.5)
    first = sampler_of([volume], augmentation=augmentation)
    expected = [first[i] for i in range(4)]
    later = pickle.loads(pickle.dumps(sampler_of([volume], augmentation=augmentation)))
    for i in (3, 1, 0, 2):
        for a, b in zip(later[i], expected[i], strict=True):
            np.testing.assert_array_equal(a, b)
    for other in (
        sampler_of([volume], augmentation=augmentation, seed=8),
        sampler_of([volume], augmentation=augmentation, stream=1),
    ):
        assert not np.array_equal(other[0].image, expected[0].image)
    assert not np.array_equal(expected[0].image, expected[1].image)


def test_volumes_are_drawn_in_proportion_to_their_labelled_voxels(make_volume):
    shape = (12, 12, 16)
    mask = np.zeros(shape, np.uint8)
    mask[:, :, :4] = 1
    a = make_volume("a", np.full(shape, 10, np.uint8), blocks(shape))
    b = make_volume("b", np.full(shape, 20, np.uint8), blocks(shape), mask)
    c = make_volume("c", np.full(shape, 30, np.uint8), blocks(shape), np.zeros(shape, np.uint8))
    sampler = sampler_of([c, a, b], patch_vox=(4, 4, 4))
    grey = np.array([round(float(sampler[i].image[0, 0, 0, 0]) * 255) for i in range(300)])
    assert set(grey) == {10, 20}
    assert 0.73 < np.mean(grey == 10) < 0.87  # 4 : 1


def test_labelled_region_counts_and_bounds_across_blocks(make_volume, monkeypatch):
    monkeypatch.setattr("pipeline_lib.training.sampling.COUNT_BLOCK_VOX", (5, 7, 6))
    mask = np.zeros((17, 20, 22), np.uint8)
    mask[4:13, 8:9, 3:20] = 255
    mask[6, 8, 5] = 0
    region = labelled_region(make_volume("a", coded_image(mask.shape), blocks(mask.shape), mask))
    assert region.n_voxels == 9 * 17 - 1
    assert region.box == Box((4, 8, 3), (13, 9, 20))
    whole = labelled_region(make_volume("b", coded_image((3, 4, 5)), blocks((3, 4, 5))))
    assert (whole.n_voxels, whole.box) == (60, Box((0, 0, 0), (3, 4, 5)))


def test_crops_lie_in_the_labelled_box_or_cover_it(make_volume):
    shape = (40, 40, 40)
    mask = np.zeros(shape, np.uint8)
    mask[5:30, 21:23, 10:38] = 1  # longer than a crop along z and x, shorter along y
    sampler = sampler_of([make_volume("a", coded_image(shape), blocks(shape), mask)])
    n = sampler.crops[0].shape_vox
    assert n == (11, 14, 13)
    starts = np.array([sampler._choose_crop(0, np.random.default_rng(i)).start_vox for i in range(500)])
    # Margins of 2, 4 and 1 voxels; the volume ends at 40.
    np.testing.assert_array_equal(starts.min(axis=0), (5 - 2, 23 + 4 - 14, 10 - 1))
    np.testing.assert_array_equal(starts.max(axis=0), (30 + 2 - 11, 21 - 4, 38 + 1 - 13))


def test_a_volume_smaller_than_the_crop_is_mirrored_and_unlabelled_outside(make_volume):
    shape = (5, 30, 30)
    image, labels = coded_image(shape), blocks(shape)
    volume = make_volume("thin", image, labels)
    sample = read_sample(volume, Box((-3, 2, 4), (9, 12, 14)))
    np.testing.assert_array_equal(
        sample.labelled, np.r_[[False] * 3, [True] * 5, [False] * 4][:, None, None] & np.ones((12, 10, 10), bool)
    )
    mirrored = [3, 2, 1, 0, 1, 2, 3, 4, 3, 2, 1, 0]
    np.testing.assert_array_equal(np.rint(sample.image * 255), image[mirrored, 2:12, 4:14])
    np.testing.assert_array_equal(sample.labels[3:8], labels[:, 2:12, 4:14])
    assert not sample.labels[~sample.labelled].any()
    sampler = sampler_of([volume], augmentation=AugmentSettings())
    for i in range(10):
        patch = sampler[i]
        assert patch.image.shape == (1, *PATCH)
        assert patch.valid.any()
        assert not patch.target[~patch.valid].any()


def test_unlabelled_voxels_have_no_say_whatever_their_label(make_volume):
    shape = (12, 14, 16)
    labels, mask = blocks(shape), np.ones(shape, np.uint8)
    mask[:, 5:9] = 0
    clean, dirty = labels.copy(), labels.copy()
    clean[mask == 0] = 0
    dirty[mask == 0] = 77
    targets = TargetSettings(offsets_vox=TARGETS.offsets_vox, erode_labels_vox=1)
    a, b = (
        sampler_of([make_volume(n, coded_image(shape), s, mask)], targets=targets)[0] for n, s in (("a", clean), ("b", dirty))
    )
    np.testing.assert_array_equal(a.target, b.target)
    np.testing.assert_array_equal(a.valid, b.valid)


def test_an_object_that_leaves_the_crop_and_comes_back_is_two(make_volume):
    shape = (6, 14, 14)
    labels = np.zeros(shape, np.uint32)
    labels[:, 1], labels[:, 4], labels[:, 1:5, 0] = 5, 5, 5  # joined at x = 0 only
    volume = make_volume("u", coded_image(shape), labels)
    targets = TargetSettings(offsets_vox=((1, 0, 0), (0, 1, 0), (0, 0, 1), (0, 3, 0)), erode_labels_vox=0)
    sampler = sampler_of([volume], patch_vox=(4, 8, 8), targets=targets)
    seen = {}
    for i in range(60):
        start = sampler._choose_crop(0, np.random.default_rng((7, 0, i, 0)))
        rng = np.random.default_rng((7, 0, i, 0))
        sampler._choose_volume(rng)
        start = sampler._choose_crop(0, rng).start_vox
        if start[1] <= 1:
            seen[start[2] == 0] = bool(sampler[i].target[3, :, 1 - start[1], 2:].all())
    assert seen == {True: True, False: False}


def test_eroded_voxels_are_valid_and_have_affinity_zero(make_volume):
    shape = (6, 12, 12)
    labels = np.ones(shape, np.uint32)
    labels[:, 6:] = 2
    targets = TargetSettings(offsets_vox=((1, 0, 0), (0, 1, 0), (0, 0, 1)), erode_labels_vox=2)
    patch = sampler_of([make_volume("a", coded_image(shape), labels)], patch_vox=(5, 11, 11), targets=targets)[0]
    assert patch.valid.all()
    rows = np.ones(11, bool)
    rows[4:8] = False  # two voxels on either side of the border between 5 and 6
    np.testing.assert_array_equal(patch.target[0], np.broadcast_to(rows[:, None], (5, 11, 11)))
    rows[3] = False  # its neighbour along y was eroded
    np.testing.assert_array_equal(patch.target[1], np.broadcast_to(rows[:, None], (5, 11, 11)))


def test_augmentation_moves_targets_with_the_image(make_volume):
    """The image says which voxels belong together, so that targets can be told from the augmented image alone."""
    shape = (16, 16, 16)
    labels = blocks(shape, 4)
    image = (labels % 251).astype(np.uint8)  # neighbouring boxes differ
    targets = TargetSettings(offsets_vox=((1, 0, 0), (0, 1, 0), (0, 0, 1), (0, 2, 0)), erode_labels_vox=0)
    geometry_only = AugmentSettings(contrast=0, brightness=0, gamma=0, noise=0, sections=0)
    sampler = sampler_of([make_volume("a", image, labels)], patch_vox=(10, 10, 10), targets=targets, augmentation=geometry_only)
    orientations = set()
    for i in range(10):
        patch = sampler[i]
        grey = np.rint(patch.image[0] * 255).astype(int)
        for axis in range(3):
            same = np.diff(grey, axis=axis) == 0
            inside = tuple(slice(None, -1) if a == axis else slice(None) for a in range(3))
            np.testing.assert_array_equal(patch.target[axis][inside], same)
        np.testing.assert_array_equal(patch.target[3][:, :-2], grey[:, :-2] == grey[:, 2:])
        steps = tuple(int(np.unique(np.diff(grey, axis=a)[np.diff(grey, axis=a) != 0])[0]) for a in range(3))
        orientations.add(steps)
        assert patch.valid.all()
    assert len(orientations) > 4


@pytest.mark.parametrize(
    ("patch", "voxel_size_nm", "before", "after"),
    [
        ((8, 8, 8), (10.0, 10.0, 10.0), (2, 2, 2), (4, 4, 4)),
        ((8, 8, 8), (40.0, 10.0, 10.0), (2, 0, 0), (1, 4, 4)),
        ((8, 8, 6), (10.0, 10.0, 10.0), (2, 2, 0), (4, 4, 1)),
    ],
)
def test_axes_that_may_be_turned_into_each_other_have_equal_margins(patch, voxel_size_nm, before, after):
    crop = CropShape.around(patch, TARGETS.offsets_vox, voxel_size_nm)
    assert (crop.before_vox, crop.after_vox) == (before, after)
    assert crop.shape_vox == tuple(np.add(np.add(before, patch), after))
    assert crop.patch_slices == tuple(slice(b, b + p) for b, p in zip(before, patch, strict=True))


def test_patches_without_a_valid_affinity_are_drawn_again(make_volume):
    shape = (12, 40, 40)
    mask = np.zeros(shape, np.uint8)
    mask[5:8, 3:6, 3:6] = mask[5:8, 35:38, 35:38] = 1  # two islands; most crops between them hold nothing
    sampler = sampler_of([make_volume("a", coded_image(shape), blocks(shape), mask)], patch_vox=(8, 8, 8))
    assert all(sampler[i].valid.any() for i in range(10))


def test_unreachable_labels_are_an_error_not_an_endless_search(make_volume, monkeypatch):
    monkeypatch.setattr("pipeline_lib.training.sampling.MAX_DRAWS", 5)
    shape = (12, 12, 12)
    mask = np.zeros(shape, np.uint8)
    mask[::4, ::3, ::3] = 1  # never two voxels one offset apart
    targets = TargetSettings(offsets_vox=((1, 0, 0), (0, 1, 0), (0, 0, 1)))
    with pytest.raises(UserError, match="no labelled voxel in 5 random patches: label more"):
        sampler_of([make_volume("a", coded_image(shape), blocks(shape), mask)], patch_vox=(8, 8, 8), targets=targets)[0]


def test_empty_training_sets_stop_with_a_message(make_volume):
    shape = (8, 8, 8)
    volume = make_volume("gap", coded_image(shape), blocks(shape), np.zeros(shape, np.uint8))
    with pytest.raises(UserError, match="the training set is empty: no labelled voxel in volumes gap"):
        sampler_of([volume])
    with pytest.raises(UserError, match="volume bare has no labels, which training and validation need"):
        sampler_of([make_volume("bare", coded_image(shape), None)])


def test_damaged_data_is_named(make_volume):
    shape = (12, 12, 12)
    volume = make_volume("torn", coded_image(shape), blocks(shape))
    sampler = sampler_of([volume], patch_vox=(4, 4, 4))
    (chunk,) = [p for p in (volume.folder / "labels.zarr").rglob("*") if p.is_file() and p.name != "zarr.json"]
    chunk.write_bytes(chunk.read_bytes()[:-20])
    with pytest.raises(UserError, match="cannot read the labels of volume torn"):
        sampler[0]
