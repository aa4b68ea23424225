"""Random patches of labelled volumes with their affinity targets; patch `i` is a pure function of the seed and `i`."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from itertools import accumulate
from typing import NamedTuple

import numpy as np
import zarr

from pipeline_lib.affinity import encode_affinities, erode_labels, relabel_components
from pipeline_lib.augment import Sample, augment
from pipeline_lib.errors import UserError
from pipeline_lib.geometry import BlockGrid, Box, Triple
from pipeline_lib.geometry.box import as_triple
from pipeline_lib.settings.learning import AugmentSettings, TargetSettings
from pipeline_lib.volumes import Volume

MAX_DRAWS = 1000
COUNT_BLOCK_VOX = (128, 512, 512)


class Patch(NamedTuple):
    """One training sample, or a batch of them with one more axis in front.

    image: float32 (1, z, y, x), 0 to 1 before augmentation. target: bool (C, z, y, x), affinities.
    valid: bool (C, z, y, x), what counts in the loss.
    """

    image: np.ndarray
    target: np.ndarray
    valid: np.ndarray


@dataclass(frozen=True)
class LabelledRegion:
    """How many voxels of a volume are labelled, and the smallest box that holds them (None where there are none)."""

    n_voxels: int
    box: Box | None


def labelled_region(volume: Volume) -> LabelledRegion:
    """Reads the mask block by block; without a mask all of the volume is labelled."""
    mask = volume.mask()
    if mask is None:
        whole = Box.of_shape(volume.shape_vox)
        return LabelledRegion(whole.n_voxels, whole)
    count, first, last = 0, np.array(volume.shape_vox), np.zeros(3, int)
    for block in BlockGrid(volume.shape_vox, COUNT_BLOCK_VOX):
        labelled = np.asarray(mask[block.write_box.slices]) != 0
        if not labelled.any():
            continue
        count += int(labelled.sum())
        for axis, others in enumerate(((1, 2), (0, 2), (0, 1))):
            hit = np.flatnonzero(labelled.any(axis=others)) + block.write_box.start_vox[axis]
            first[axis], last[axis] = min(first[axis], hit[0]), max(last[axis], hit[-1] + 1)
    return LabelledRegion(count, Box(as_triple(first.tolist()), as_triple(last.tolist())) if count else None)


@dataclass(frozen=True)
class CropShape:
    """A patch and what its affinities need around it: `before_vox` towards smaller, `after_vox` towards greater indices.

    |<- before ->|<---- patch ---->|<- after ->|
    """

    before_vox: Triple
    patch_vox: Triple
    after_vox: Triple

    @classmethod
    def around(cls, patch_vox: Triple, offsets_vox: Sequence[Triple], voxel_size_nm: Sequence[float]) -> CropShape:
        """Axes of equal patch and voxel size get equal margins, so that the crop can be turned."""
        kinds = list(zip(patch_vox, voxel_size_nm, strict=True))
        twins = [[other for other in range(3) if kinds[other] == kinds[axis]] for axis in range(3)]
        before = [max(0, *(-o[t] for o in offsets_vox for t in twins[axis])) for axis in range(3)]
        after = [max(0, *(o[t] for o in offsets_vox for t in twins[axis])) for axis in range(3)]
        return cls(as_triple(before), as_triple(patch_vox), as_triple(after))

    @property
    def shape_vox(self) -> Triple:
        return as_triple([sum(n) for n in zip(self.before_vox, self.patch_vox, self.after_vox, strict=True)])

    @property
    def patch_slices(self) -> tuple[slice, slice, slice]:
        """The patch inside the crop."""
        return Box.of_shape(self.patch_vox).shifted(self.before_vox).slices


class PatchSampler:
    """Patch `i`: a volume in proportion to its labelled voxels, a random crop, augmented, its affinities, cut to the patch.

    The order is that of BANIS: objects that leave and re-enter the crop are told apart, labels are eroded, then augmentation,
    then affinities, then the cut. Eroded voxels are background: their affinities are 0 and count.
    Crops lie inside the labelled region where it is large enough; beyond a smaller volume the image is mirrored and nothing
    is labelled. Crops without a valid affinity are drawn again. `stream` tells samplers of one seed apart.
    Raises UserError where a volume has no labels or no volume has a labelled voxel.
    """

    def __init__(
        self,
        volumes: Sequence[Volume],
        *,
        patch_vox: Triple,
        targets: TargetSettings,
        augmentation: AugmentSettings | None,
        seed: int,
        stream: int = 0,
    ) -> None:
        for volume in volumes:
            if volume.labels_path is None:
                raise UserError(f"volume {volume.name} has no labels, which training and validation need: {volume.folder}")
        self.volumes = tuple(volumes)
        self.regions = [labelled_region(volume) for volume in volumes]
        if not any(region.n_voxels for region in self.regions):
            names = ", ".join(volume.name for volume in volumes) or "none"
            raise UserError(f"the training set is empty: no labelled voxel in volumes {names}; check labels and mask")
        self.crops = [CropShape.around(patch_vox, targets.offsets_vox, volume.voxel_size_nm) for volume in volumes]
        self.targets, self.augmentation = targets, augmentation
        self.seed, self.stream = seed, stream

    def __getitem__(self, index: int) -> Patch:
        for draw in range(MAX_DRAWS):
            rng = np.random.default_rng((self.seed, self.stream, index, draw))
            which = self._choose_volume(rng)
            sample = read_sample(self.volumes[which], self._choose_crop(which, rng))
            if sample.labelled.any():
                patch = self._encode(sample, self.crops[which], rng)
                if patch.valid.any():
                    return patch
        raise UserError(f"no labelled voxel in {MAX_DRAWS} random patches: label more of the train volumes or crop them closer")

    def _choose_volume(self, rng: np.random.Generator) -> int:
        bounds = list(accumulate(region.n_voxels for region in self.regions))
        return int(np.searchsorted(bounds, rng.integers(bounds[-1]), side="right"))

    def _choose_crop(self, which: int, rng: np.random.Generator) -> Box:
        """Inside the labelled box and its margin, or covering these if smaller; inside the volume if that is larger."""
        box, volume_vox, crop = self.regions[which].box, self.volumes[which].shape_vox, self.crops[which]
        if box is None:
            raise ValueError(f"volume {self.volumes[which].name} was chosen though nothing in it is labelled")
        # With the margin, patches reach the first and last labelled voxel however the crop is mirrored.
        box = box.grown([max(sides) for sides in zip(crop.before_vox, crop.after_vox, strict=True)])
        start = []
        for low, high, n, size in zip(box.start_vox, box.stop_vox, crop.shape_vox, volume_vox, strict=True):
            first, last = sorted((low, high - n))
            if size >= n:
                first, last = (min(max(bound, 0), size - n) for bound in (first, last))
            start.append(int(rng.integers(first, last + 1)))
        return Box.of_shape(crop.shape_vox).shifted(start)

    def _encode(self, sample: Sample, crop: CropShape, rng: np.random.Generator) -> Patch:
        labels = relabel_components(sample.labels)
        sample = replace(sample, labels=erode_labels(labels, self.targets.erode_labels_vox))
        if self.augmentation is not None:
            sample = augment(sample, self.augmentation, rng)
        encoded = encode_affinities(sample.labels, self.targets.offsets_vox, labelled=sample.labelled)
        inside = (slice(None), *crop.patch_slices)
        arrays = (sample.image[None][inside], encoded.affinities[inside], encoded.valid[inside])
        return Patch(*(np.ascontiguousarray(array) for array in arrays))


def read_sample(volume: Volume, box: Box) -> Sample:
    """A crop, also beyond the volume: there the image is mirrored, and nothing is labelled. Unlabelled voxels get label 0."""
    inside = box.clipped(Box.of_shape(volume.shape_vox))
    image = _read(volume, "image", inside)
    labels = _read(volume, "labels", inside)
    labelled = _read(volume, "mask", inside) != 0 if volume.mask_path else np.ones(inside.shape_vox, bool)
    if not labelled.all():
        labels[~labelled] = 0
    if inside != box:
        sides = zip(box.start_vox, inside.start_vox, inside.stop_vox, box.stop_vox, strict=True)
        pad = [(first - start, stop - last) for start, first, last, stop in sides]
        image = np.pad(image, pad, mode="reflect")
        labels, labelled = np.pad(labels, pad), np.pad(labelled, pad)
    return Sample(image.astype(np.float32) / np.float32(255), labels, labelled, volume.voxel_size_nm)


def _read(volume: Volume, kind: str, box: Box) -> np.ndarray:
    array = _opened(volume, kind)
    try:
        return np.asarray(array[box.slices])
    except Exception as error:  # zarr and its codecs raise many kinds for damaged chunks
        raise UserError(f"cannot read the {kind} of volume {volume.name} in {volume.folder}: {error}") from error


@lru_cache(maxsize=256)
def _opened(volume: Volume, kind: str) -> zarr.Array:
    """Opening takes as long as reading a small crop, so each process does it once."""
    array: zarr.Array = getattr(volume, kind)()
    return array
