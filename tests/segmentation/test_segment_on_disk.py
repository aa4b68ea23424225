"""Segmentation block by block, on disk: equal to that of the whole volume, whoever computes which blocks and when."""

import pickle
import random
from dataclasses import asdict, replace

import numpy as np
import pytest
from scipy.ndimage import gaussian_filter

from pipeline_lib.artefacts import Budget, Run, Step, read_json, write_json
from pipeline_lib.components import grow_segments, label_components, remove_small_segments, segment_affinities
from pipeline_lib.errors import UserError
from pipeline_lib.geometry import Box
from pipeline_lib.segmentation import label_volume, segment_volume, segment_whole_volume
from pipeline_lib.segmentation.growth import growth_need_mb
from pipeline_lib.segmentation.labelling import BlockLabelling
from pipeline_lib.segmentation.segment import BlockSegmentation
from pipeline_lib.settings.scoring import SegmentationSettings
from pipeline_lib.volumes import Volume, open_array, write_box
from pipeline_lib.volumes.affinities import create_affinities

SHAPE, SIZE_NM = (140, 270, 150), (20.0, 10.0, 10.0)
RUN = Run(Budget(memory_mb=2000))
BLOCKS = [(128, 128, 128), (128, 256, 128), (256, 384, 256)]


def settings(block_vox=(128, 128, 128), *, threshold=0.7, **more):
    return SegmentationSettings(block_vox=block_vox, threshold=threshold, **more)


@pytest.fixture(scope="module")
def affinities():
    """Blobs, many of which reach through several blocks, with noise that makes singletons and dust."""
    rng = np.random.default_rng(5)
    smooth = np.stack([gaussian_filter(rng.normal(size=SHAPE), 3) for _ in range(3)])
    values = 0.75 + 0.25 * smooth / smooth.std() + rng.normal(scale=0.1, size=smooth.shape)
    return np.rint(255 * np.clip(values, 0, 1)).astype(np.uint8)


@pytest.fixture(scope="module")
def prediction(affinities, tmp_path_factory):
    folder = tmp_path_factory.mktemp("prediction's folder")
    array = create_affinities(
        folder / "affinities.zarr" / "0",
        SHAPE,
        offsets_vox=[(1, 0, 0), (0, 1, 0), (0, 0, 1)],
        voxel_size_nm=SIZE_NM,
        logit_scale=0.2,
    )
    write_box(array, Box.of_shape(SHAPE), affinities)
    write_json(folder / "complete.json", {"content": "blobs"})
    return folder


@pytest.fixture
def volume(tmp_path):
    return Volume(tmp_path / "volume", "test", SHAPE, SIZE_NM)


def segmented(told, prediction, volume, folder, *, run=RUN, choice=None):
    """Label, segment, and read the result."""
    label_volume(told, prediction, volume, folder / "components", choice=choice, run=run)
    segment_volume(told, prediction, volume, folder, components=folder / "components", run=run)
    return open_array(folder / "segmentation.zarr" / "0")


def assert_equal_up_to_renaming(found, expected):
    pairs = np.unique(np.stack([found.reshape(-1), expected.reshape(-1)]).astype(np.int64), axis=1)
    assert len(np.unique(pairs[0])) == len(np.unique(pairs[1])) == pairs.shape[1]
    assert not pairs[:, 0].any(), "background"


@pytest.mark.parametrize("min_size_vox", [0, 40])
@pytest.mark.parametrize("block_vox", BLOCKS)
def test_blocks_give_the_segments_of_the_whole(affinities, prediction, volume, block_vox, min_size_vox):
    tmp_path = volume.folder.parent
    array = segmented(settings(block_vox, min_size_vox=min_size_vox), prediction, volume, tmp_path)
    expected = remove_small_segments(label_components(affinities, 0.7), min_size_vox)
    found = array[:]
    assert_equal_up_to_renaming(found, expected)
    assert (array.dtype, array.attrs["threshold"], found.max()) == ("uint32", 0.7, expected.max())
    assert len(np.unique(found)) == expected.max() + 1  # dense ids
    complete = read_json(tmp_path / "complete.json")
    assert (complete["n_segments"], complete["choice"]["threshold"]) == (expected.max(), 0.7)
    if block_vox == BLOCKS[-1]:
        np.testing.assert_array_equal(found, expected)


@pytest.mark.parametrize("n_jobs", [2, 5])
def test_ids_do_not_depend_on_jobs_or_their_order(prediction, volume, tmp_path, n_jobs):
    told = settings(min_size_vox=40)
    expected = segmented(told, prediction, volume, tmp_path / "one")[:]
    folder = tmp_path / "jobs"
    order = [f"{k}/{n_jobs}" for k in random.Random(n_jobs).sample(range(n_jobs), n_jobs)]
    for text in ("plan", *order, f"finish/{n_jobs}"):
        run = Run(RUN.budget, Step.parse(text))
        label_volume(told, prediction, volume, folder / "components", choice=None, run=run)
    for text in ("plan", *order[::-1], f"finish/{n_jobs}"):
        run = Run(RUN.budget, Step.parse(text))
        segment_volume(told, prediction, volume, folder, components=folder / "components", run=run)
    np.testing.assert_array_equal(open_array(folder / "segmentation.zarr" / "0")[:], expected)
    contents = [read_json(tmp_path / name / "complete.json")["content"] for name in ("one", "jobs")]
    assert contents[0] == contents[1]


def test_workers_give_the_same_as_one_process(prediction, volume, tmp_path):
    expected = segmented(settings(), prediction, volume, tmp_path / "one")[:]
    run = Run(Budget(memory_mb=3000, threads=2))
    np.testing.assert_array_equal(segmented(settings(), prediction, volume, tmp_path / "two", run=run)[:], expected)


def test_the_tables_of_the_join_are_not_sent_to_workers(prediction, volume, tmp_path):
    label_volume(settings(), prediction, volume, tmp_path / "components", choice=None, run=RUN)
    parts = tmp_path / "components"
    task = BlockSegmentation(settings(), prediction, volume, tmp_path / "s", components=parts)
    before = len(pickle.dumps(task.segment))
    task.create()
    tables = sum(array.nbytes for array in asdict(task.joined).values())
    assert tables > 10_000
    assert len(pickle.dumps(task.segment)) == before
    assert pickle.loads(pickle.dumps(task)).segment(0, threads=1) == task.segment(0, threads=1)


@pytest.mark.parametrize("block_vox", BLOCKS)
def test_growth_in_blocks_is_that_of_the_whole(affinities, prediction, volume, tmp_path, block_vox):
    array = segmented(settings(block_vox, min_size_vox=40, grow_vox=3), prediction, volume, tmp_path)
    expected = grow_segments(remove_small_segments(label_components(affinities, 0.7), 40), 3)
    assert_equal_up_to_renaming(array[:], expected)
    assert read_json(tmp_path / "complete.json")["n_segments"] == expected.max()
    assert not (open_array(tmp_path / "ungrown" / "segmentation.zarr" / "0")[:] > array[:]).any()


def test_the_memory_of_growth_counts_what_is_read_on_both_sides(tmp_path):
    volume = Volume(tmp_path, "large", (1000, 260, 100), SIZE_NM)
    found = growth_need_mb(settings(grow_vox=5), volume, (128, 128, 128))
    assert found == pytest.approx(32 * 138 * 138 * 100 / 1e6)


@pytest.mark.parametrize("max_blocks", [1, 12, 99])
def test_a_quick_look_does_not_grow(prediction, volume, tmp_path, max_blocks, capsys):
    told = settings(grow_vox=3)
    label_volume(told, prediction, volume, tmp_path / "components", choice=None, run=RUN)
    quick = Run(RUN.budget, max_blocks=max_blocks)
    for _ in range(2):
        segment_volume(told, prediction, volume, tmp_path, components=tmp_path / "components", run=quick)
        assert not (tmp_path / "complete.json").exists()
        assert not (tmp_path / "segmentation.zarr").exists()
    shown = "grow test: left for a run without --max-blocks"
    assert (shown in capsys.readouterr().err) == (max_blocks >= 12)
    segment_volume(told, prediction, volume, tmp_path, components=tmp_path / "components", run=RUN)
    assert (tmp_path / "complete.json").exists()


@pytest.mark.parametrize("step", ["plan", "all"])
def test_growth_that_does_not_fit_is_refused_before_segments_are_written(prediction, volume, tmp_path, step):
    label_volume(settings(), prediction, volume, tmp_path / "components", choice=None, run=RUN)
    run = Run(Budget(memory_mb=420), Step.parse(step))
    message = r"segmentation.block_vox \[128, 128, 128\] takes 427 MB, but the memory budget is 420 MB; no multiple of"
    with pytest.raises(UserError, match=message):
        segment_volume(settings(grow_vox=3), prediction, volume, tmp_path, components=tmp_path / "components", run=run)
    assert [path.name for path in (tmp_path / "ungrown").iterdir()] == [".lock"]


@pytest.mark.parametrize("method", [{"flood": True}, {"dust": "give"}, {"dust": "give", "grow_vox": 2}])
def test_what_reaches_everywhere_is_segmented_as_a_whole(affinities, prediction, volume, tmp_path, method):
    told = settings(min_size_vox=40, **method)
    assert not told.by_blocks
    segment_whole_volume(told, prediction, volume, tmp_path, choice=None, run=RUN)
    expected = segment_affinities(affinities, 0.7, **told.after_labelling)
    np.testing.assert_array_equal(open_array(tmp_path / "segmentation.zarr" / "0")[:], expected)
    assert read_json(tmp_path / "complete.json")["n_segments"] == expected.max()


@pytest.mark.parametrize(
    ("method", "words"), [({"flood": True}, "segmentation.flood"), ({"dust": "give"}, "segmentation.dust: give")]
)
def test_a_whole_that_does_not_fit_is_refused(prediction, volume, tmp_path, method, words):
    message = rf"{words} holds the volume test in memory, 531 MB, but the memory budget is 500 MB; segmentation.grow_vox and"
    with pytest.raises(UserError, match=message):
        segment_whole_volume(
            settings(min_size_vox=40, **method), prediction, volume, tmp_path, choice=None, run=Run(Budget(memory_mb=500))
        )


def test_a_block_that_does_not_fit_is_refused_before_anything_is_written(prediction, volume, tmp_path):
    message = (
        r"segmentation.block_vox \[256, 384, 256\] takes 463 MB, but the memory budget is 400 MB; the largest that fits is"
    )
    with pytest.raises(UserError, match=message):
        segmented(settings(BLOCKS[-1]), prediction, volume, tmp_path, run=Run(Budget(memory_mb=400)))
    assert [path.name for path in (tmp_path / "components").iterdir()] == [".lock"]


@pytest.mark.parametrize("method", [{}, {"grow_vox": 3}, {"flood": True}], ids=str)
def test_what_is_complete_needs_no_memory(prediction, volume, tmp_path, method):
    told = settings(**method)
    for run in (RUN, *(Run(Budget(memory_mb=1), Step.parse(text)) for text in ("all", "plan", "finish/1"))):
        if told.by_blocks:
            label_volume(told, prediction, volume, tmp_path / "components", choice=None, run=run)
            segment_volume(told, prediction, volume, tmp_path / "s", components=tmp_path / "components", run=run)
        else:
            segment_whole_volume(told, prediction, volume, tmp_path / "s", choice=None, run=run)
    assert (tmp_path / "s" / "complete.json").exists()


@pytest.mark.parametrize("block_vox", BLOCKS)
def test_segments_are_written_in_the_memory_that_labelling_accepts(prediction, volume, tmp_path, block_vox):
    def fits(stage, memory_mb):
        run = Run(Budget(memory_mb), Step("plan"))
        try:
            if stage == "label":
                label_volume(settings(block_vox), prediction, volume, tmp_path / "label", choice=None, run=run)
            else:
                segment_volume(settings(block_vox), prediction, volume, tmp_path / "s", components=tmp_path / "parts", run=run)
        except UserError:
            return False
        return True

    label_volume(settings(block_vox), prediction, volume, tmp_path / "parts", choice=None, run=RUN)
    accepted = [fits("label", memory_mb) for memory_mb in range(380, 480, 2)]
    assert accepted == sorted(accepted)
    assert 0 < sum(accepted) < len(accepted)
    assert [fits("segment", memory_mb) for memory_mb in range(380, 480, 2)] == accepted


def test_finished_components_that_do_not_fit_are_refused_with_what_helps(prediction, volume, tmp_path):
    label_volume(settings(), prediction, volume, tmp_path / "components", choice=None, run=RUN)
    message = (
        r"segment test: a block of the components \[128, 128, 128\] takes 392 MB, but the memory budget is 390 MB; give it "
        r"more memory, or delete .*components and label again with a smaller segmentation\.block_vox"
    )
    run = Run(Budget(390))
    with pytest.raises(UserError, match=message):
        segment_volume(settings(), prediction, volume, tmp_path, components=tmp_path / "components", run=run)


def test_a_join_that_does_not_fit_is_refused(prediction, volume, tmp_path, monkeypatch):
    monkeypatch.setattr("pipeline_lib.segmentation.labelling._JOIN_BYTES", 10**6)
    with pytest.raises(
        UserError, match=r"label test: joining \d+ components at the faces of blocks takes \d+ MB, but the memory"
    ):
        segmented(settings(), prediction, volume, tmp_path)


def test_ended_midway_it_goes_on_with_the_same_result(prediction, volume, tmp_path, monkeypatch):
    expected = segmented(settings(), prediction, volume, tmp_path / "undisturbed")[:]
    folder = tmp_path / "ended"
    for stage_class, method, n in ((BlockLabelling, "summarise", 3), (BlockSegmentation, "segment", 5)):
        calls = []
        original = getattr(stage_class, method)

        def ended(self, index, original=original, calls=calls, n=n, **options):
            calls.append(index)
            if len(calls) > n:
                raise KeyboardInterrupt
            return original(self, index, **options)

        with monkeypatch.context() as patch:
            patch.setattr(stage_class, method, ended)
            with pytest.raises(KeyboardInterrupt):
                segmented(settings(), prediction, volume, folder)
        assert len(calls) == n + 1
    assert not (folder / "complete.json").exists()
    np.testing.assert_array_equal(segmented(settings(), prediction, volume, folder)[:], expected)


def test_another_prediction_is_noticed(prediction, volume, tmp_path):
    segmented(settings(), prediction, volume, tmp_path / "s")
    other = tmp_path / "other"
    (other / "affinities.zarr").mkdir(parents=True)
    (other / "affinities.zarr" / "0").symlink_to(prediction / "affinities.zarr" / "0")
    write_json(other / "complete.json", {"content": "other blobs"})
    run = Run(RUN.budget, Step.parse("0/1"))
    (tmp_path / "s" / "complete.json").unlink()
    with pytest.raises(UserError, match=r"segment test: .*the prediction has changed since it was planned"):
        segment_volume(settings(), other, volume, tmp_path / "s", components=tmp_path / "s" / "components", run=run)


def test_an_incomplete_prediction_is_refused(prediction, volume, tmp_path):
    (tmp_path / "p" / "affinities.zarr").mkdir(parents=True)
    (tmp_path / "p" / "affinities.zarr" / "0").symlink_to(prediction / "affinities.zarr" / "0")
    with pytest.raises(UserError, match="p holds no complete result; run the stage that makes it"):
        segmented(settings(), tmp_path / "p", replace(volume, name="x"), tmp_path / "s")


def test_without_a_threshold_there_is_no_segmentation(prediction, volume, tmp_path):
    with pytest.raises(UserError, match=r"there is no threshold: give the choice of a sweep, or segmentation\.threshold"):
        segmented(settings(threshold=None), prediction, volume, tmp_path / "s")
    write_json(tmp_path / "choice.json", {"threshold": 0.9, "by": "nerl"})
    array = segmented(settings(threshold=None), prediction, volume, tmp_path / "s", choice=tmp_path / "choice.json")
    assert array.attrs["threshold"] == 0.9
