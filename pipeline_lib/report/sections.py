"""Cuts through a volume, read from disk as far as they are shown, and turned into RGB pictures."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import zarr

from pipeline_lib.report.colours import HASHED, Palette, matched_palette
from pipeline_lib.report.contents import VolumeResult
from pipeline_lib.volumes import open_array
from pipeline_lib.volumes.affinities import SCALE, open_affinities

AXES = "zyx"
_OVERLAY = 0.55
_BORDER_SHADE = 0.55


@dataclass(frozen=True)
class Cut:
    """One section: the plane at `index_vox` along `axis`, cut to the box from `start_vox` to `stop_vox` (z, y, x).

    Pictures have the slower of the two axes downwards: y in xy cuts, z in xz and yz cuts.
    """

    axis: int
    index_vox: int
    start_vox: tuple[int, ...]
    stop_vox: tuple[int, ...]
    voxel_size_nm: tuple[float, ...]

    @property
    def _plane(self) -> tuple[int, int]:
        down, right = (axis for axis in range(3) if axis != self.axis)
        return down, right

    @property
    def name(self) -> str:
        down, right = self._plane
        return "".join(sorted(AXES[down] + AXES[right]))

    @property
    def extent_nm(self) -> tuple[float, float]:
        """Down, right."""
        down, right = ((self.stop_vox[a] - self.start_vox[a]) * self.voxel_size_nm[a] for a in self._plane)
        return down, right

    @property
    def position_nm(self) -> float:
        """Middle of the section along its axis."""
        return (self.index_vox + 0.5) * self.voxel_size_nm[self.axis]

    def share_of(self, voxel: Sequence[int]) -> tuple[float, float]:
        """Where the middle of a voxel lies in the picture, as fractions of its extent (down, right)."""
        down, right = ((voxel[a] + 0.5 - self.start_vox[a]) / (self.stop_vox[a] - self.start_vox[a]) for a in self._plane)
        return down, right

    def read(self, array: zarr.Array) -> np.ndarray:
        """(rows, columns) of a (z, y, x) array, or (c, rows, columns) of the first three channels of a (c, z, y, x) array."""
        window = [slice(a, b) for a, b in zip(self.start_vox, self.stop_vox, strict=True)]
        # Not an integer: zarrs 0.2 fails on one where another slice takes a single voxel of a chunk.
        window[self.axis] = slice(self.index_vox, self.index_vox + 1)
        channels = [slice(3)] if array.ndim == 4 else []
        return np.asarray(array[(*channels, *window)]).squeeze(self.axis - 3)


def central_cuts(shape_vox: Sequence[int], voxel_size_nm: Sequence[float], *, max_vox: int) -> list[Cut]:
    """The xy, xz and yz cuts through the middle, none longer than `max_vox` of the finest voxel edge."""
    centre = [n // 2 for n in shape_vox]
    return [cut_at(axis, centre, shape_vox, voxel_size_nm, max_vox=max_vox) for axis in range(3)]


def cut_at(
    axis: int, centre_vox: Sequence[int], shape_vox: Sequence[int], voxel_size_nm: Sequence[float], *, max_vox: int
) -> Cut:
    """The cut across `axis` through a voxel, which is in its middle unless the volume ends before."""
    sides = [max(1, round(max_vox * min(voxel_size_nm) / size)) for size in voxel_size_nm]
    start = [max(0, min(c - side // 2, n - side)) for c, side, n in zip(centre_vox, sides, shape_vox, strict=True)]
    stop = [min(n, a + side) for a, side, n in zip(start, sides, shape_vox, strict=True)]
    return Cut(axis, int(centre_vox[axis]), tuple(start), tuple(stop), tuple(voxel_size_nm))


@dataclass(frozen=True)
class Section:
    """What one cut shows. image: float (rows, columns) in 0..1. affinities: (3, rows, columns) in 0..1, channels z, y, x.

    segments, truth: integer (rows, columns), 0 = background; truth is None where there are no labels.
    """

    cut: Cut
    image: np.ndarray
    affinities: np.ndarray
    segments: np.ndarray
    truth: np.ndarray | None


def read_sections(result: VolumeResult, cuts: Sequence[Cut]) -> list[Section]:
    image, labels = result.volume.image(), result.volume.labels()
    affinities, segments = open_affinities(result.affinities).array, open_array(result.segmentation)
    return [
        Section(
            cut,
            stretched(cut.read(image)),
            cut.read(affinities) * SCALE,
            cut.read(segments),
            cut.read(labels) if labels is not None else None,
        )
        for cut in cuts
    ]


def section_palette(sections: Sequence[Section]) -> Palette:
    """One palette for the segments of all sections: matched to the truth as far as the sections show it."""
    truths = [section.truth for section in sections if section.truth is not None]
    if len(truths) < len(sections):
        return HASHED
    return matched_palette(np.concatenate([s.segments.ravel() for s in sections]), np.concatenate([t.ravel() for t in truths]))


def stretched(image: np.ndarray) -> np.ndarray:
    """Float in 0..1 between the 0.5th and the 99.5th percentile."""
    low, high = np.percentile(image, [0.5, 99.5])
    return np.clip((image - low) / max(high - low, 1e-6), 0, 1)


def overlay(image: np.ndarray, labels: np.ndarray, palette: Palette = HASHED, *, strength: float = _OVERLAY) -> np.ndarray:
    """(rows, columns, 3): labels in colour over the grey image; 0 stays grey."""
    grey = np.repeat(image[..., None], 3, axis=-1)
    share = strength * (labels != 0)[..., None]
    shade = np.where(_border(labels), _BORDER_SHADE, 1.0)[..., None]
    return (grey * (1 - share) + palette.of(labels) * share) * shade


def _border(labels: np.ndarray) -> np.ndarray:
    """Pixels whose right or lower neighbour has another label, both labels not 0."""
    border = np.zeros(labels.shape, bool)
    for axis in (0, 1):
        here, next_ = (np.moveaxis(labels, axis, 0)[part] for part in (slice(None, -1), slice(1, None)))
        np.moveaxis(border, axis, 0)[:-1] |= (here != next_) & (here != 0) & (next_ != 0)
    return border
