"""What a network learns, from which patches, and for how long."""

from __future__ import annotations

from typing import Literal

from pydantic import field_validator

from pipeline_lib.settings.base import Settings, setting
from pipeline_lib.settings.volumes import PositiveTriple

Offset = tuple[int, int, int]


class TargetSettings(Settings):
    """Affinities to predict."""

    offsets_vox: tuple[Offset, ...] = setting(
        ((1, 0, 0), (0, 1, 0), (0, 0, 1), (5, 0, 0), (0, 5, 0), (0, 0, 5)),
        "One channel per offset z, y, x; the first three are the direct neighbours, which agglomeration joins.",
    )
    erode_labels_vox: int = setting(
        1,
        "Voxels nearer than this to another neuron count as background in training; thick borders prevent mergers.",
        ge=0,
        le=5,
    )

    @field_validator("offsets_vox")
    @classmethod
    def _nearest_first(cls, offsets: tuple[Offset, ...]) -> tuple[Offset, ...]:
        if offsets[:3] != ((1, 0, 0), (0, 1, 0), (0, 0, 1)):
            raise ValueError(f"the first three offsets must be [1,0,0], [0,1,0], [0,0,1], got {[list(o) for o in offsets[:3]]}")
        if len(set(offsets)) < len(offsets) or (0, 0, 0) in offsets:
            raise ValueError("offsets must differ from each other and from [0,0,0]")
        return offsets


class AugmentSettings(Settings):
    """Random changes of training patches; image and labels move together."""

    flips: bool = setting(True, "Mirror along each axis with probability one half.")
    rotations: bool = setting(True, "Quarter turns in every plane whose two voxel sizes and patch sizes are equal.")
    contrast: float = setting(0.2, "Image times a factor within 1 -+ this.", ge=0, le=1)
    brightness: float = setting(0.15, "Image plus a value within -+ this (image in 0 to 1).", ge=0, le=1)
    gamma: float = setting(0.5, "Image to the power 2^u, u within -+ this.", ge=0, le=2)
    noise: float = setting(0.05, "Largest standard deviation of added Gaussian noise.", ge=0, le=1)
    blur_vox: float = setting(0.0, "Largest standard deviation of Gaussian blur, with probability one quarter.", ge=0, le=5)
    sections: float = setting(0.02, "Probability of a section to be darkened, brightened or blanked.", ge=0, le=1)


class BCELoss(Settings):
    """Mean binary cross-entropy with logits over all valid entries of all channels pooled."""

    name: Literal["bce"] = "bce"


class TrainingSettings(Settings):
    """Steps of AdamW with a cosine schedule."""

    patch_vox: PositiveTriple = setting((64, 64, 64), "Size of a training patch z, y, x.")
    batch_size: int = setting(1, "Patches per step.", gt=0)
    steps: int = setting(5000, "Optimizer steps in all.", gt=0)
    segment_steps: int | None = setting(
        None, "Steps per segment of training, each a job that continues the one before; default: all.", gt=0
    )
    learning_rate: float = setting(2e-3, "Peak learning rate.", gt=0)
    warmup_steps: int = setting(100, "Steps of linear warm-up.", ge=0)
    weight_decay: float = setting(1e-2, "AdamW's weight decay.", ge=0)
    gradient_clip: float = setting(1.0, "Largest norm of the gradient.", gt=0)
    precision: Literal["auto", "float32", "bfloat16"] = setting("auto", "`auto` probes both once and takes the faster one.")
    validate_every_steps: int = setting(
        500, "Validation loss and pictures every so many steps, besides the end of each segment.", gt=0, execution=True
    )
    validation_patches: int = setting(8, "Fixed patches of the val volumes that the validation loss is taken over.", gt=0)
    accumulate: int = setting(
        1,
        "Parts that each batch is computed in, one after the other, where a GPU cannot hold it; the gradients are those of the "
        "batch.",
        gt=0,
        execution=True,
    )
    launcher: Literal["inline", "submitit"] | None = setting(
        None,
        "Where training runs: `inline`, in the rule's own process or job; `submitit`, in a Slurm job of its own, which goes on "
        "over time limits and may span GPUs and nodes; default: what the profile says, else inline.",
        execution=True,
    )
    save_before_limit_s: float = setting(
        120.0,
        "Seconds before the time limit of its job at which training saves and ends, for the next one to go on.",
        ge=0,
        execution=True,
    )
    job_poll_s: float = setting(20.0, "Seconds between two looks at a submitted job.", gt=0, le=50, execution=True)
    job_retries: int = setting(
        3,
        "Submitted jobs in a row that may die without having saved anything new, before training is given up.",
        ge=0,
        execution=True,
    )
    workers: int | None = setting(
        None,
        "Processes that read and augment patches; 0 reads in the training process; default: 1, for a GPU all threads of its "
        "job but one, at most 16.",
        ge=0,
        execution=True,
    )
    log_every_steps: int = setting(20, "Steps between two entries of the log.", gt=0, execution=True)
    save_every_s: float = setting(60.0, "Seconds between two saves of the state that survives a kill.", gt=0, execution=True)

    @property
    def segment_ends(self) -> tuple[int, ...]:
        """The step at which each segment of training ends."""
        length = self.segment_steps or self.steps
        return (*range(length, self.steps, length), self.steps)
