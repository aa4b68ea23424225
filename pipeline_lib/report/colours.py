"""Colours that an id keeps from picture to picture."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from matplotlib.colors import hsv_to_rgb

from pipeline_lib.metrics.contingency import tabulate

_GOLDEN = np.uint64(0x9E3779B97F4A7C15)  # 2^64 over the golden ratio: consecutive ids get hues far apart
_GREY = (0.55, 0.55, 0.55)


def id_colours(ids: np.ndarray) -> np.ndarray:
    """(..., 3) float RGB in 0..1 from a hash of each id alone."""
    hashed = np.asarray(ids).astype(np.uint64) * _GOLDEN
    hue = (hashed >> np.uint64(32)).astype(float) / 2**32
    saturation = 0.55 + 0.15 * ((hashed >> np.uint64(8)) % np.uint64(4)).astype(float)
    value = 0.8 + 0.1 * ((hashed >> np.uint64(16)) % np.uint64(3)).astype(float)
    return np.asarray(hsv_to_rgb(np.stack([hue, saturation, value], axis=-1)))


@dataclass(frozen=True)
class Palette:
    """Colours of some ids, by rising id (P,) and as RGB (P, 3); every other id has the colour of its hash."""

    ids: np.ndarray
    rgb: np.ndarray

    def of(self, labels: np.ndarray) -> np.ndarray:
        """(..., 3) RGB of integer labels."""
        colours = id_colours(labels)
        if len(self.ids):
            place = np.searchsorted(self.ids, labels).clip(max=len(self.ids) - 1)
            known = self.ids[place] == labels
            colours[known] = self.rgb[place[known]]
        return colours


HASHED = Palette(np.zeros(0, np.int64), np.zeros((0, 3)))


def distinct_palette(ids: np.ndarray, *, hue: float) -> Palette:
    """Colours that a few ids can be told apart by, whatever the ids; the lowest has the hue (0..1) that is given."""
    ids = np.unique(ids)
    hues = (hue + np.arange(len(ids)) * 0.618) % 1.0
    return Palette(ids, np.asarray(hsv_to_rgb(np.stack([hues, np.full(len(ids), 0.8), np.ones(len(ids))], axis=-1))))


def matched_palette(segments: np.ndarray, truth: np.ndarray) -> Palette:
    """Colours of segments after the true label that each overlaps most; both arrays (n,), 0 = background.

    The largest segment of a label has the label's own colour, the next ones a paler or darker shade of it, so that a split is
    seen. A segment that overlaps no label is grey.
    """
    ids = np.unique(segments[segments != 0])
    rgb = np.tile(_GREY, (len(ids), 1))
    both = (segments != 0) & (truth != 0)
    if not both.any():
        return Palette(ids, rgb)
    table = tabulate(truth[both], segments[both])
    rank: dict[int, int] = {}
    matched: set[int] = set()
    for cell in np.argsort(-table.counts, kind="stable"):
        segment, label = int(table.predicted_index[cell]), int(table.truth_index[cell])
        if segment in matched:
            continue
        matched.add(segment)
        place = np.searchsorted(ids, table.predicted_ids[segment])
        rgb[place] = _shade(id_colours(table.truth_ids[label]), rank.get(label, 0))
        rank[label] = rank.get(label, 0) + 1
    return Palette(ids, rgb)


def _shade(colour: np.ndarray, rank: int) -> np.ndarray:
    if rank == 0:
        return colour
    return 0.45 * colour + 0.55 if rank % 2 else 0.55 * colour
