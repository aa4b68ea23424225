"""EM-like images of voxelised neurites: membranes, cytoplasm, organelles, blur, noise and section defects."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy import ndimage

from pipeline_lib.synthetic.fields import SmoothField, white_noise
from pipeline_lib.synthetic.neurites import Neurites
from pipeline_lib.synthetic.organelles import Organelles, depth_inside, place_organelles
from pipeline_lib.synthetic.voxels import DISTANCE_STEP_NM, Voxels

SLAB_VOX = 24  # sections rendered at a time; no influence on the result
MEMBRANE_NM = 22.0  # half width of the dark line between two neurites
BLUR_VOX = 0.7
# grey levels from 0 (black) to 1
MEMBRANE, CYTOPLASM, EXTRACELLULAR, MITOCHONDRION = 0.18, 0.62, 0.75, 0.38


@dataclass(frozen=True)
class Look:
    """How hard the images are. 0 leaves out what a field names."""

    faint_membranes: float = 0.7  # the largest loss of a membrane's contrast, 1 = gaps
    organelles: float = 1.0  # times the usual number
    cell_contrast: float = 0.07  # standard deviation of the grey level from cell to cell
    texture: float = 0.06
    noise: float = 0.08
    section_defects: float = 0.03  # share of the sections


def render(neurites: Neurites, voxels: Voxels, voxel_size_nm: Sequence[float], *, look: Look, seed: int) -> np.ndarray:
    """(z, y, x) uint8 image."""
    rng = np.random.default_rng((seed, 1))
    shape, size = voxels.labels.shape, np.asarray(voxel_size_nm, float)
    scene = _Scene.draw(neurites, shape, size, look, rng)
    halo = int(np.ceil(4 * BLUR_VOX))
    image = np.zeros(shape, np.uint8)
    for z0 in range(0, shape[0], SLAB_VOX):
        z1 = min(z0 + SLAB_VOX, shape[0])
        low, high = max(z0 - halo, 0), min(z1 + halo, shape[0])
        sharp = _paint(scene, voxels, low, high, size, look, seed)
        blurred = ndimage.gaussian_filter(sharp, BLUR_VOX, truncate=4.0)[z0 - low : z1 - low]
        noisy = blurred + look.noise * white_noise(seed, 2, z0, z1, shape)
        values = noisy * scene.gain[z0:z1, None, None] + scene.offset[z0:z1, None, None]
        image[z0:z1] = np.clip(np.rint(255 * values), 0, 255).astype(np.uint8)
    return image


@dataclass(frozen=True)
class _Scene:
    """What is drawn once for the whole volume."""

    organelles: Organelles
    cell_grey: np.ndarray  # by label
    faintness: SmoothField
    shade: SmoothField
    mottle: SmoothField
    gain: np.ndarray  # by section
    offset: np.ndarray

    @classmethod
    def draw(cls, neurites: Neurites, shape: Sequence[int], size: np.ndarray, look: Look, rng: np.random.Generator) -> _Scene:
        n_labels = int(neurites.ids.max(initial=0))
        cell_grey = CYTOPLASM + look.cell_contrast * rng.standard_normal(n_labels + 1)
        cell_grey[0] = EXTRACELLULAR
        extent = np.asarray(shape) * size
        gain, offset = _section_defects(shape[0], look.section_defects, rng)
        return cls(
            place_organelles(neurites, density=look.organelles, rng=rng),
            np.clip(cell_grey, MEMBRANE + 0.22, 0.85).astype(np.float32),
            SmoothField(extent, 160, rng),
            SmoothField(extent, 600, rng),
            SmoothField(extent, 70, rng),
            gain,
            offset,
        )


def _section_defects(n_sections: int, share: float, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Gain and offset of every section: a slight flicker, and some dark, bright or washed-out ones."""
    gain, offset = 1 + 0.03 * rng.standard_normal(n_sections), 0.01 * rng.standard_normal(n_sections)
    for z in np.flatnonzero(rng.random(n_sections) < share):
        gain[z], offset[z] = ((0.55, 0.0), (0.8, 0.3), (0.35, 0.35))[rng.integers(3)]
    return gain.astype(np.float32), offset.astype(np.float32)


def _paint(scene: _Scene, voxels: Voxels, low: int, high: int, size: np.ndarray, look: Look, seed: int) -> np.ndarray:
    """The sections low..high without blur, noise and defects: (high - low, y, x) float32."""
    labels, shape = voxels.labels[low:high], voxels.labels.shape

    def field(smooth: SmoothField) -> np.ndarray:
        return smooth.at(low, high, shape, size)

    mottle = field(scene.mottle)
    grey = scene.cell_grey[labels] + 0.3 * look.cell_contrast * field(scene.shade)
    grey += look.texture * (mottle + 1.5 * white_noise(seed, 3, low, high, shape))
    bodies = scene.organelles
    depth = depth_inside(bodies.mitochondria, labels, low, size, reach_nm=60) + 8 * mottle
    inside = MITOCHONDRION + 0.1 * np.sin(depth / 9) + look.texture * mottle
    grey = np.where(depth > 0, inside, grey)
    grey = _darkened(grey, np.exp(-((depth / 16) ** 2)), 0.9)
    for balls, width, strength in ((bodies.tubules, 14, 0.6), (bodies.cisternae, 16, 0.75), (bodies.vesicles, 12, 0.6)):
        depth = depth_inside(balls, labels, low, size, reach_nm=50)
        grey = _darkened(grey, np.exp(-((depth / width) ** 2)), strength)
    distance = voxels.membrane_distance[low:high] * np.float32(DISTANCE_STEP_NM)
    faint = look.faint_membranes / (1 + np.exp(-2.5 * (field(scene.faintness) - 0.6)))
    return _darkened(grey, np.exp(-((distance / MEMBRANE_NM) ** 2)), 1 - faint)


def _darkened(grey: np.ndarray, profile: np.ndarray, strength: float | np.ndarray) -> np.ndarray:
    share = (profile * strength).astype(np.float32)
    return (1 - share) * grey + share * np.float32(MEMBRANE)
