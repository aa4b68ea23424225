"""What becomes of segments that are too small: dropped, or given to a neighbour."""

from __future__ import annotations

import fastremap
import numpy as np
from numba import njit

from pipeline_lib.components.edges import check_affinities, to_levels


def remove_small_segments(labels: np.ndarray, min_size_vox: int) -> np.ndarray:
    """Segments of fewer than `min_size_vox` voxels become 0; the others are numbered 1..n in the order of their first voxels.

    labels: (z, y, x) unsigned, 0 = background. Returns a new array of the same dtype.
    """
    compact, sizes_vox = _compact(labels)
    kept = sizes_vox >= min_size_vox
    kept[0] = False
    return np.where(kept, np.cumsum(kept), 0).astype(labels.dtype)[compact]


def give_small_segments(labels: np.ndarray, affinities: np.ndarray, min_size_vox: int) -> np.ndarray:
    """Segments of fewer than `min_size_vox` voxels join the neighbour with the strongest contact; ids 1..n as above.

    A contact is as strong as the sum of the affinities between two segments, over all faces that they share. Only segments of
    at least `min_size_vox` voxels take others in. It goes by rounds: those that touch one of them join it, then those that
    touch what has joined, and so on. Small segments that nothing reaches become 0. Of equal contacts the segment is taken whose
    first voxel comes first. Besides copies of the labels it takes 17 bytes for each face of a small segment.

        round 1     large 1 | small 2 | small 3   ->   1 1 3        round 2   ->   1 1 1

    labels: (z, y, x) unsigned, 0 = background. affinities: of the same volume, as for label_components; floats count as their
    uint8 levels. Returns a new array of the dtype of `labels`.
    """
    check_affinities(affinities)
    if labels.shape != affinities.shape[1:]:
        raise ValueError(f"labels must have the shape {affinities.shape[1:]} of the affinities, got {labels.shape}")
    compact, sizes_vox = _compact(labels)
    small = sizes_vox < min_size_vox
    taker = np.where(small, 0, np.arange(len(sizes_vox)))
    taker[0] = small[0] = 0
    levels = to_levels(affinities)
    giving, touched = np.empty((2, _visit_contacts(compact, levels, small, None)), np.int64)
    strength = np.empty(len(giving), np.uint8)
    _visit_contacts(compact, levels, small, (giving, touched, strength))
    while (reached := taker[touched] != 0).any():
        pairs, face_pair = np.unique(giving[reached] * len(taker) + taker[touched[reached]], return_inverse=True)
        total = np.bincount(face_pair, strength[reached])
        strongest_first = pairs[np.lexsort((pairs, -total, pairs // len(taker)))]
        joining, best = np.unique(strongest_first // len(taker), return_index=True)
        taker[joining] = strongest_first[best] % len(taker)
        waiting = taker[giving] == 0
        giving, touched, strength = giving[waiting], touched[waiting], strength[waiting]
    given, _ = fastremap.renumber(np.ascontiguousarray(taker[compact]), preserve_zero=True, in_place=True)
    return given.astype(labels.dtype)


def _compact(labels: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Labels 0..n in the order of their first voxels, and how many voxels each has."""
    compact, _ = fastremap.renumber(np.ascontiguousarray(labels), preserve_zero=True, in_place=False)
    return compact, np.bincount(compact.reshape(-1), minlength=1)


@njit(cache=True)
def _visit_contacts(
    labels: np.ndarray, levels: np.ndarray, small: np.ndarray, contacts: tuple[np.ndarray, np.ndarray, np.ndarray] | None
) -> int:
    """How many faces there are from a small segment to another one; writes the two ids and the affinity of each."""
    n = 0
    n_z, n_y, n_x = labels.shape
    for axis in range(3):
        step_z, step_y, step_x = int(axis == 0), int(axis == 1), int(axis == 2)
        for z in range(n_z - step_z):
            for y in range(n_y - step_y):
                for x in range(n_x - step_x):
                    a, b = labels[z, y, x], labels[z + step_z, y + step_y, x + step_x]
                    if 0 in (a, b) or a == b:
                        continue
                    for here, there in ((a, b), (b, a)):
                        if small[here]:
                            if contacts is not None:
                                contacts[0][n], contacts[1][n] = here, there
                                contacts[2][n] = levels[axis, z, y, x]
                            n += 1
    return n
