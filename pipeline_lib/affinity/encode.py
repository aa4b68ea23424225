"""From labels to affinities at any set of voxel offsets."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class EncodedAffinities:
    """Affinities of one labelled volume, each edge stored at its source voxel.

    affinities: (C, z, y, x) bool, True where voxel v and voxel v + offset_c carry the same id, which is not 0.
    valid: (C, z, y, x) bool, True where both voxels lie inside the volume and are labelled. Affinities elsewhere say nothing.
    """

    affinities: np.ndarray
    valid: np.ndarray


def encode_affinities(
    labels: np.ndarray, offsets_vox: Sequence[Sequence[int]], *, labelled: np.ndarray | None = None
) -> EncodedAffinities:
    """Affinities of `labels` at `offsets_vox`, with the semantics of BANIS: 0 is labelled background and connects to nothing.

        offset (0, 0, 2), one row:   labels      3 3 3 3 0 0
                                     affinities  1 1 0 0 . .      . = not valid: v + offset lies outside

    labels: (z, y, x) integers >= 0. labelled: (z, y, x) bool, False where the annotation says nothing; default True everywhere.
    offsets_vox: zyx triples; they may be negative or reach beyond the volume, where nothing is valid.
    Raises ValueError for negative labels (mark them in `labelled` instead), an offset of zero, or shapes that differ.
    """
    _check(labels, offsets_vox, labelled)
    affinities = np.zeros((len(offsets_vox), *labels.shape), bool)
    valid = np.zeros_like(affinities)
    for channel, offset in enumerate(offsets_vox):
        source, target = _overlap(labels.shape, offset)
        ids = labels[source]
        affinities[channel][source] = (ids == labels[target]) & (ids != 0)
        valid[channel][source] = True if labelled is None else labelled[source] & labelled[target]
    return EncodedAffinities(affinities, valid)


def _check(labels: np.ndarray, offsets_vox: Sequence[Sequence[int]], labelled: np.ndarray | None) -> None:
    if labels.ndim != 3 or not np.issubdtype(labels.dtype, np.integer):
        raise ValueError(f"labels must be integers (z, y, x), got {labels.dtype} of shape {labels.shape}")
    if np.issubdtype(labels.dtype, np.signedinteger) and labels.size and labels.min() < 0:
        raise ValueError(f"labels must be >= 0, got {labels.min()}: set unlabelled voxels to 0 and mark them in `labelled`")
    if labelled is not None and (labelled.shape != labels.shape or labelled.dtype != bool):
        raise ValueError(f"labelled must be bool of shape {labels.shape}, got {labelled.dtype} of shape {labelled.shape}")
    for offset in offsets_vox:
        if len(offset) != 3 or not any(offset):
            raise ValueError(f"an offset is three voxel counts (z, y, x), not all 0, got {tuple(offset)}")


def _overlap(shape_vox: Sequence[int], offset_vox: Sequence[int]) -> tuple[tuple[slice, ...], tuple[slice, ...]]:
    """Slices of the voxels v for which v + offset is inside, and of those v + offset; empty where there are none."""
    source, target = [], []
    for n, o in zip(shape_vox, offset_vox, strict=True):
        length = max(n - abs(o), 0)
        source.append(slice(max(-o, 0), max(-o, 0) + length))
        target.append(slice(max(o, 0), max(o, 0) + length))
    return tuple(source), tuple(target)
