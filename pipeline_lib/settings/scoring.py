"""From a trained network to a scored segmentation."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import AfterValidator, model_validator

from pipeline_lib.settings.base import PathText, Settings, setting
from pipeline_lib.settings.volumes import PositiveTriple

SHARD_VOX = (128, 128, 128)
CHUNK_VOX = (64, 64, 64)


def _whole_shards(block: tuple[int, int, int]) -> tuple[int, int, int]:
    if any(b % SHARD_VOX[axis] for axis, b in enumerate(block)):
        raise ValueError(f"must be a multiple of the shard {list(SHARD_VOX)}, got {list(block)}")
    return block


WholeShards = Annotated[PositiveTriple, AfterValidator(_whole_shards)]  # two writers in one shard would lose data


class InferenceSettings(Settings):
    """Blockwise prediction of blended, overlapping patches."""

    checkpoint: Literal["best", "last"] = setting(
        "best", "The segment with the lowest validation loss, or the last one, which it is too without val volumes."
    )
    patch_vox: PositiveTriple | None = setting(None, "Size of a patch z, y, x; default: as in training.")
    logit_scale: float = setting(0.2, "Affinity = sigmoid(scale * logit); keeps confident values apart in 8 bits.", gt=0)
    test_time_flips: bool = setting(False, "Mean over the eight mirror images of each patch.")
    block_vox: WholeShards = setting((128, 640, 640), "Voxels held in memory at once and written together.", execution=True)


class SegmentationSettings(Settings):
    """Connected components of affinities above a threshold."""

    method: Literal["components"] = "components"
    threshold: Annotated[float, setting(ge=0, lt=1)] | None = setting(
        None, "Affinity threshold; default: chosen on the val volumes."
    )
    min_size_vox: int = setting(0, "Smaller segments are dust.", ge=0)
    dust: Literal["drop", "give"] = setting(
        "drop", "Dust becomes background, or part of the neighbour that it has the strongest contact with."
    )
    grow_vox: int = setting(0, "Segments then grow into background by so many steps, which gives eroded borders back.", ge=0)
    flood: bool = setting(False, "Segments instead flood all background, where affinities are highest first; for dense tissue.")
    block_vox: WholeShards = setting((256, 256, 256), "Voxels that one process holds, also in the sweep.", execution=True)

    @model_validator(mode="after")
    def _one_way_to_fill(self) -> SegmentationSettings:
        if self.flood and self.grow_vox:
            raise ValueError(f"flood fills all background, so grow_vox must be 0, got {self.grow_vox}")
        return self

    @property
    def after_labelling(self) -> dict[str, Any]:
        """Size filter and filling, as the options of `components.segment_affinities`."""
        return {"min_size_vox": self.min_size_vox, "dust": self.dust, "grow_vox": self.grow_vox, "flood": self.flood}

    @property
    def only_components(self) -> bool:
        """Whether segments are components as they are, but for those dropped: then a sweep can score all levels at once."""
        return self.by_blocks and not self.grow_vox

    @property
    def by_blocks(self) -> bool:
        """Whether a volume can be segmented in blocks: what is filled does not reach further than a known number of voxels."""
        gives = self.dust == "give" and self.min_size_vox > 2
        return not (gives or self.flood)


class ChoiceSettings(Settings):
    """The thresholds that are tried on the val volumes, and by what one is chosen."""

    thresholds: Annotated[tuple[Annotated[float, setting(ge=0, lt=1)], ...], setting(min_length=1)] | Literal["all"] = setting(
        (0.4502, 0.5, 0.5498, 0.5987, 0.6457, 0.69, 0.7311, 0.7685, 0.8022, 0.832, 0.8581, 0.8808, 0.9002),
        "Affinity thresholds to try; all: every n / 255 from `lowest` up, against skeletons only.",
    )
    lowest: float = setting(
        0.25, "Down to this threshold, the scores at skeleton nodes are computed at every n / 255.", ge=0, lt=1
    )
    by: Literal["nerl", "voi_skeletons", "voi_voxels"] = setting(
        "nerl", "Best is the highest NERL, or the lowest sum of VOI split and merge at skeleton nodes or in voxels."
    )

    @model_validator(mode="after")
    def _rising(self) -> ChoiceSettings:
        if self.thresholds == "all":
            if self.by == "voi_voxels":
                raise ValueError("thresholds: all is scored against skeletons, so by cannot be voi_voxels")
        elif list(self.thresholds) != sorted(set(self.thresholds)):
            raise ValueError("thresholds must rise")
        return self


class EvaluationSettings(Settings):
    """Scores of a segmentation."""

    merge_tolerance: int = setting(0, "Nodes of another skeleton in a segment up to which it is not counted as a merger.", ge=0)
    skeleton_metrics: bool | None = setting(
        None, "NERL and VOI at skeleton nodes; default: wherever there are skeletons or labels."
    )
    voxel_metrics: bool | None = setting(None, "VOI and Rand error in voxels; default: wherever there are labels.")
    voxels: Literal["foreground", "all"] = setting(
        "foreground", "Voxels to score: those with a true label, or all, true background being one more object."
    )
    boundary_tolerance_nm: float = setting(
        0.0, "Voxels at most so far from a boundary between true labels are not scored; 0: none is left out.", ge=0
    )
    against: PathText | None = setting(
        None,
        "The evaluations of another run, a folder `.../evaluations/<id>`: is this run better, and how sure is that?",
    )
    worst_errors: int = setting(20, "How many splits, gaps and mergers to list.", ge=0)
    block_vox: WholeShards = setting((256, 256, 256), "Voxels that one process holds.", execution=True)
