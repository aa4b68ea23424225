"""What classical image processing makes of a volume: thresholds and watersheds of the smoothed image.

Each method is a function of an image (z, y, x) uint8 and its parameters; the best of a grid on one volume is scored on another.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from itertools import product

import numpy as np
from scipy import ndimage
from skimage.segmentation import watershed

from pipeline_lib.geometry import nm_to_vox_floor
from pipeline_lib.metrics import score_skeletons
from pipeline_lib.synthetic import SyntheticVolume

Method = Callable[..., np.ndarray]


def bright_components(image: np.ndarray, *, blur_vox: float, level: float) -> np.ndarray:
    """Connected components of what is brighter than `level`."""
    return ndimage.label(_smoothed(image, blur_vox) > level)[0]


def distance_watershed(image: np.ndarray, *, blur_vox: float, level: float, seed_vox: float, landscape: str) -> np.ndarray:
    """Watershed from the components deeper than `seed_vox` inside what is brighter than `level`.

    landscape: "distance" floods along the distance to the dark, "image" along the smoothed image.
    """
    smoothed = _smoothed(image, blur_vox)
    depth = ndimage.gaussian_filter(ndimage.distance_transform_edt(smoothed > level).astype(np.float32), 1)
    seeds = ndimage.label(depth > seed_vox)[0]
    return watershed(-(depth if landscape == "distance" else smoothed), seeds)


def _smoothed(image: np.ndarray, blur_vox: float) -> np.ndarray:
    return ndimage.gaussian_filter(image.astype(np.float32), blur_vox)


METHODS: dict[Method, dict[str, Iterable[float | str]]] = {
    bright_components: {"blur_vox": (0.7, 1, 1.5, 2, 2.5, 3), "level": range(110, 175, 5)},
    distance_watershed: {
        "blur_vox": (0.7, 1, 1.5),
        "level": (105, 115, 125),
        "seed_vox": (4.5, 6, 7.5),
        "landscape": ("distance", "image"),
    },
}


@dataclass(frozen=True)
class Best:
    nerl: float
    options: dict[str, float | str] = field(default_factory=dict)


def nerl(volume: SyntheticVolume, segmentation: np.ndarray) -> float:
    nodes_vox = nm_to_vox_floor(volume.skeletons.node_positions_nm, (20, 20, 20))
    return score_skeletons(volume.skeletons, segmentation[tuple(nodes_vox.T)]).nerl


def best_options(method: Method, volume: SyntheticVolume) -> Best:
    """The options of the method's grid with the highest NERL."""
    grid = METHODS[method]
    best = Best(-1.0)
    for values in product(*grid.values()):
        options = dict(zip(grid, values, strict=True))
        score = nerl(volume, method(volume.image, **options))
        if score > best.nerl:
            best = Best(score, options)
    return best
