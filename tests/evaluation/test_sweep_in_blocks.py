"""The sweep block by block against segmenting each threshold of the whole volume in memory."""

import gc
import weakref
from dataclasses import replace

import numpy as np
import pytest
from scipy.ndimage import gaussian_filter

from pipeline_lib.artefacts import Budget, Run, Step, read_json, write_json
from pipeline_lib.components import label_components, remove_small_segments
from pipeline_lib.errors import UserError
from pipeline_lib.evaluation import portions, sweep, sweep_volume
from pipeline_lib.evaluation.sweep import BlockSweep
from pipeline_lib.geometry import Box
from pipeline_lib.metrics import LabelScores, LabelTally, label_tally, score_labels, score_skeletons
from pipeline_lib.settings.scoring import ChoiceSettings, EvaluationSettings, SegmentationSettings
from pipeline_lib.settings.stages import SweepStage
from pipeline_lib.skeletons import Skeletons, load_skeletons, save_skeletons
from pipeline_lib.volumes import Volume, create_array, write_box
from pipeline_lib.volumes.affinities import create_affinities

SHAPE, SIZE_NM = (13, 40, 50), (20.0, 10.0, 10.0)
RUN = Run(Budget(memory_mb=4000))
THRESHOLDS = (0.5, 0.7311, 0.8, 0.9002)
BLOCKS = [(256, 256, 256), (13, 20, 50), (5, 17, 19), (1, 40, 7)]


def stage(block_vox=(256, 256, 256), thresholds=THRESHOLDS, min_size_vox=0, **evaluation):
    method = SegmentationSettings(min_size_vox=min_size_vox).model_copy(update={"block_vox": block_vox})
    choice, scores = ChoiceSettings(thresholds=thresholds), EvaluationSettings(**evaluation)
    return SweepStage.model_construct(segmentation=method, choice=choice, evaluation=scores)


@pytest.fixture(scope="module")
def affinities():
    rng = np.random.default_rng(8)
    smooth = np.stack([gaussian_filter(rng.normal(size=SHAPE), 2) for _ in range(3)])
    values = 0.75 + 0.2 * smooth / smooth.std() + rng.normal(scale=0.05, size=smooth.shape)
    return np.rint(255 * np.clip(values, 0, 1)).astype(np.uint8)


@pytest.fixture(scope="module")
def prediction(affinities, tmp_path_factory):
    folder = tmp_path_factory.mktemp("prediction")
    offsets = [(1, 0, 0), (0, 1, 0), (0, 0, 1)]
    array = create_affinities(
        folder / "affinities.zarr" / "0", SHAPE, offsets_vox=offsets, voxel_size_nm=SIZE_NM, logit_scale=0.2
    )
    write_box(array, Box.of_shape(SHAPE), affinities)
    write_json(folder / "complete.json", {"content": "blobs"})
    return folder


@pytest.fixture(scope="module")
def truth(affinities):
    """Labels that are not quite the components at any threshold, and skeletons that walk through them and background."""
    rng = np.random.default_rng(9)
    labels = remove_small_segments(label_components(affinities, 0.78), 30)
    labels[:, :, 25:] = np.where(labels[:, :, 25:] > 0, labels[:, :, 25:] + 1000, 0)
    voxels = rng.integers(0, SHAPE, (600, 3))
    ids = np.repeat(np.arange(60), 10)  # skeleton 0 counts nowhere
    edges = [[i, i + 1] for i in range(599) if i % 10 != 9]
    return labels, Skeletons((voxels + 0.5) * SIZE_NM, ids, edges), voxels


@pytest.fixture(scope="module")
def volume(truth, tmp_path_factory):
    labels, skeletons, _ = truth
    folder = tmp_path_factory.mktemp("volume")
    for name, values in (("image", np.zeros(SHAPE, np.uint8)), ("labels", labels)):
        array = create_array(folder / f"{name}.zarr" / "0", SHAPE, str(values.dtype), attributes={})
        write_box(array, Box.of_shape(SHAPE), values)
    save_skeletons(folder / "skeletons.npz", skeletons)
    return Volume(folder, "val", SHAPE, SIZE_NM, labels_path="labels.zarr/0", skeletons_path="skeletons.npz").save()


def swept(told, prediction, volume, folder, run=RUN):
    sweep_volume(told, prediction, volume, folder, run=run)
    return read_json(folder / "curve.json")


def expected_points(affinities, truth, thresholds, min_size_vox, **evaluation):
    labels, skeletons, voxels = truth
    for threshold in thresholds:
        segments = remove_small_segments(label_components(affinities, threshold), min_size_vox)
        scored = score_labels(labels, segments, voxel_size_nm=SIZE_NM, **evaluation)
        nodes = score_skeletons(skeletons, segments[tuple(voxels.T)])
        yield {
            "threshold": threshold,
            "n_segments": int(segments.max()),
            "skeletons": nodes.to_json(),
            "voxels": scored.to_json(),
        }


def assert_same_skeletons(found, expected):
    """Up to rounding: segments come in another order."""
    found, expected = dict(found), dict(expected)
    assert found.pop("nerl_by_tolerance") == pytest.approx(expected.pop("nerl_by_tolerance"), rel=1e-9)
    assert found.keys() == expected.keys()
    for name, value in expected.items():
        assert found[name] == pytest.approx(value, rel=1e-9), name


@pytest.mark.parametrize("told", [(block_vox, min_size_vox) for block_vox in BLOCKS for min_size_vox in (0, 25)], ids=str)
def test_each_threshold_scores_as_its_segmentation(affinities, prediction, truth, volume, told):
    block_vox, min_size_vox = told
    folder = volume.folder / f"sweep {told}"
    curve = swept(stage(block_vox, min_size_vox=min_size_vox), prediction, volume, folder)
    for point, expected in zip(curve["points"], expected_points(affinities, truth, THRESHOLDS, min_size_vox), strict=True):
        assert point["n_segments"] == expected["n_segments"]
        assert point["voxels"] == expected["voxels"]
        assert_same_skeletons(point["skeletons"], expected["skeletons"])
        assert point["voxels"]["voi_sum"] > 0.1
    levels = curve["levels"]
    for level in range(254, 62, -17):
        segments = remove_small_segments(label_components(affinities, level / 255), min_size_vox)
        i = 254 - level
        assert levels["n_segments"][i] == segments.max()
        scores = score_skeletons(truth[1], segments[tuple(truth[2].T)])
        assert levels["nerl"][i] == pytest.approx(scores.nerl)
        assert levels["n_mergers"][i] == scores.n_mergers
        sizes = np.bincount(label_components(affinities, level / 255).reshape(-1))[1:]
        by_size = np.bincount(np.log2(sizes).astype(int), minlength=len(levels["n_segments_by_size"][i]))
        assert levels["n_segments_by_size"][i] == by_size.tolist()


@pytest.mark.parametrize("options", [{"voxels": "all"}, {"boundary_tolerance_nm": 15.0}])
def test_voxels_are_chosen_as_in_the_whole(affinities, prediction, truth, volume, options):
    curve = swept(stage((5, 17, 19), **options), prediction, volume, volume.folder / f"sweep {options}")
    expected = expected_points(affinities, truth, THRESHOLDS, 0, **options)
    assert [point["voxels"] for point in curve["points"]] == [point["voxels"] for point in expected]


@pytest.mark.parametrize("most_cells", [1, 40])
def test_tables_are_joined_for_few_segments_at_a_time(prediction, volume, tmp_path, monkeypatch, most_cells):
    told = stage((5, 17, 19))
    expected = swept(told, prediction, volume, tmp_path / "one")
    for text in ("plan", "0/1"):
        sweep_volume(told, prediction, volume, tmp_path / "out", run=Run(RUN.budget, Step.parse(text)))
    n_cells, of = [], LabelTally.of
    monkeypatch.setattr(LabelTally, "of", lambda table: n_cells.append(len(table.counts)) or of(table))
    monkeypatch.setattr(portions, "MOST_CELLS", most_cells)
    monkeypatch.setattr(label_tally, "_MOST_PENDING", most_cells)
    sweep_volume(told, prediction, volume, tmp_path / "out", run=Run(RUN.budget, Step.parse("finish/1")))
    assert read_json(tmp_path / "out" / "curve.json") == expected
    with np.load(tmp_path / "out" / "skeletons.npz") as found, np.load(tmp_path / "one" / "skeletons.npz") as one:
        assert found.files == one.files
        assert all(np.array_equal(found[name], one[name]) for name in one.files)
    assert max(n_cells) < 60 < sum(n_cells) / len(THRESHOLDS)


def test_of_a_threshold_that_was_scored_only_what_is_written_is_kept(prediction, volume, tmp_path, monkeypatch):
    scored, alive = [], []

    def noted(score):
        def scoring(*args, **options):
            gc.collect()
            alive.append(sum(found() is not None for found in scored))
            scores = score(*args, **options)
            scored.append(weakref.ref(scores))
            return scores

        return scoring

    monkeypatch.setattr(sweep, "score_skeletons", noted(sweep.score_skeletons))
    monkeypatch.setattr(LabelScores, "from_tally", noted(LabelScores.from_tally))
    swept(stage(), prediction, volume, tmp_path)
    assert len(alive) == 2 * len(THRESHOLDS)
    assert max(alive) <= 3  # of one threshold, while the next is scored


def test_all_levels_in_blocks_are_those_of_one(prediction, volume, tmp_path):
    one, blocks = (swept(stage(b, "all"), prediction, volume, tmp_path / str(b[0])) for b in BLOCKS[:3:2])
    assert len(one["points"]) == 192
    for first, second in zip(one["points"], blocks["points"], strict=True):
        assert_same_skeletons(first["skeletons"], second["skeletons"])
        assert first["n_segments"] == second["n_segments"]


def test_jobs_and_workers_share_the_blocks(prediction, volume, tmp_path):
    told = stage((5, 17, 19))
    expected = swept(told, prediction, volume, tmp_path / "one")
    for text in ("plan", "2/3", "0/3", "1/3", "finish/3"):
        sweep_volume(told, prediction, volume, tmp_path / "jobs", run=Run(RUN.budget, Step.parse(text)))
    assert read_json(tmp_path / "jobs" / "curve.json") == expected
    assert swept(told, prediction, volume, tmp_path / "workers", Run(Budget(4000, threads=2))) == expected


def test_ended_midway_it_goes_on(prediction, volume, tmp_path, monkeypatch):
    told, calls, reduce = stage((5, 17, 19)), [], BlockSweep.reduce
    expected = swept(told, prediction, volume, tmp_path / "undisturbed")

    def ended(self, index, **options):
        calls.append(index)
        if len(calls) == 5:
            raise KeyboardInterrupt
        return reduce(self, index, **options)

    with monkeypatch.context() as patch:
        patch.setattr(BlockSweep, "reduce", ended)
        with pytest.raises(KeyboardInterrupt):
            swept(told, prediction, volume, tmp_path / "ended")
    monkeypatch.setattr(
        BlockSweep, "reduce", lambda self, index, **options: calls.append(index) or reduce(self, index, **options)
    )
    assert swept(told, prediction, volume, tmp_path / "ended") == expected
    n_blocks = 3 * 3 * 3
    assert sorted(calls) == sorted([*range(n_blocks), 4])


def test_what_does_not_fit_is_refused(prediction, volume, tmp_path):
    large = replace(volume, shape_vox=(1000, 1000, 1000))
    small = Run(Budget(memory_mb=400))
    with pytest.raises(
        UserError, match=r"segmentation.block_vox \[256, 256, 256\] takes \d+ MB, but the memory budget is 400 MB"
    ):
        sweep_volume(stage(), prediction, large, tmp_path, run=small)
    told = SweepStage(segmentation=SegmentationSettings(flood=True), choice=ChoiceSettings(), evaluation=EvaluationSettings())
    message = "sweep val: trying thresholds for segments that grow, flood or take in dust holds the volume in memory, 48350 MB"
    with pytest.raises(UserError, match=message):
        sweep_volume(told, prediction, large, tmp_path, run=small)


@pytest.fixture(scope="module")
def swept_blocks(prediction, volume, tmp_path_factory):
    """The folder of a sweep that is only to be finished."""
    folder = tmp_path_factory.mktemp("blocks")
    for text in ("plan", "0/1"):
        sweep_volume(stage((5, 17, 19)), prediction, volume, folder, run=Run(RUN.budget, Step.parse(text)))
    return folder


@pytest.mark.parametrize("step", ["all", "finish/1"])
def test_skeletons_that_do_not_fit_when_finishing_are_refused_first(prediction, volume, swept_blocks, monkeypatch, step):
    n_nodes = len(load_skeletons(volume.skeletons_file).node_skeleton_ids)
    monkeypatch.setattr(sweep, "_NODE_BYTES", 1e10 / n_nodes)
    message = rf"sweep val: scoring {n_nodes} skeleton nodes takes 10350 MB, but the memory budget is 4000 MB; give the"
    folder = swept_blocks if step != "all" else swept_blocks / "other"
    for other in ("plan", "0/2", "1/2"):  # which hold no more than blocks
        sweep_volume(stage((5, 17, 19)), prediction, volume, folder, run=Run(RUN.budget, Step.parse(other)))
    with pytest.raises(UserError, match=message):
        sweep_volume(stage((5, 17, 19)), prediction, volume, folder, run=Run(RUN.budget, Step.parse(step)))


def test_tables_that_do_not_fit_when_finishing_are_refused_first(prediction, volume, swept_blocks, monkeypatch):
    n_open = sum(len(np.load(path)["open_ids"]) for path in swept_blocks.glob("blocks/*-tried-0.npz"))
    n_cells = sum(len(np.load(path)["counts"]) for path in swept_blocks.glob("blocks/*-tried-0.npz"))
    monkeypatch.setattr(sweep, "_OPEN_BYTES", 1e10 / n_open)
    monkeypatch.setattr(BlockSweep, "_forest", lambda *_: pytest.fail("regions were joined"))
    message = (
        rf"sweep val: joining {n_open} components at the faces of blocks, with {n_cells} overlaps with labels, at threshold "
        r"0.5 takes 103\d\d MB, but the memory budget is 4000 MB; larger blocks \(segmentation.block_vox\) have fewer"
    )
    with pytest.raises(UserError, match=message):
        sweep_volume(stage((5, 17, 19)), prediction, volume, swept_blocks, run=Run(RUN.budget, Step("finish")))


def test_regions_that_do_not_fit_when_finishing_are_refused(prediction, volume, swept_blocks, monkeypatch):
    sizes = [sum(array.nbytes for array in np.load(path).values()) for path in sorted(swept_blocks.glob("blocks/[01].npz"))]
    monkeypatch.setattr(sweep, "_REGION_FACTOR", 1e10 / sum(sizes))
    message = (
        r"sweep val: joining the regions of .* voxels takes \d+ MB, but the memory budget is 4000 MB; give the sweep more "
        "memory, or a smaller val volume"
    )
    with pytest.raises(UserError, match=message):
        sweep_volume(stage((5, 17, 19)), prediction, volume, swept_blocks, run=Run(RUN.budget, Step("finish")))
