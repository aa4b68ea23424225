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
BLUR_VOX = 0.7
# grey levels from 0 (black) to 1
MEMBRANE, CYTOPLASM, EXTRACELLULAR, MITOCHONDRION = 0.18, 0.62, 0.75, 0.38
# half widths of dark lines
MEMBRANE_NM, MITOCHONDRION_RIM_NM, TUBULE_NM, CISTERNA_NM, VESICLE_NM = 22.0, 16.0, 14.0, 16.0, 12.0
DEFECTS = ((0.7, 0.0), (0.85, 0.22), (0.5, 0.27))  # gain and offset: dark, bright, washed out


@dataclass(frozen=True)
class Look:
    """How hard the images are. 0 leaves out what a field names."""

    faint_membranes: float = 0.5  # the largest loss of a membrane's contrast; 1 = gaps
    organelles: float = 1.0  # times the usual number
    cell_contrast: float = 0.07  # standard deviation of the grey level from cell to cell
    texture: float = 0.06  # standard deviation of the grey level in a cell, about
    noise: float = 0.07  # standard deviation of the noise of a voxel
    section_defects: float = 0.02  # share of the sections


def render(neurites: Neurites, voxels: Voxels, voxel_size_nm: Sequence[float], *, look: Look, seed: int) -> np.ndarray:
    """(z, y, x) uint8 image."""
    rng = np.random.default_rng((seed, 1))
    shape = voxels.labels.shape
    scene = _draw_scene(neurites, shape, np.asarray(voxel_size_nm, float), look, rng)
    gain, offset = _section_defects(shape[0], look.section_defects, rng)
    halo = int(np.ceil(4 * BLUR_VOX))
    image = np.zeros(shape, np.uint8)
    for z0 in range(0, shape[0], SLAB_VOX):
        z1 = min(z0 + SLAB_VOX, shape[0])
        low, high = max(z0 - halo, 0), min(z1 + halo, shape[0])
        sharp = _paint(scene, voxels, slice(low, high), look, seed)
        blurred = ndimage.gaussian_filter(sharp, BLUR_VOX, truncate=4.0)[z0 - low : z1 - low]
        noisy = blurred + np.float32(look.noise) * white_noise((seed, 2), z0, z1, shape)
        values = noisy * gain[z0:z1, None, None] + offset[z0:z1, None, None]
        image[z0:z1] = np.clip(np.rint(255 * values), 0, 255).astype(np.uint8)
    return image


@dataclass(frozen=True)
class _Scene:
    """What is drawn once for the whole volume."""

    voxel_nm: np.ndarray
    organelles: Organelles
    cell_grey: np.ndarray  # by label
    faintness: SmoothField
    shade: SmoothField
    mottle: SmoothField


def _draw_scene(
    neurites: Neurites, shape: tuple[int, ...], voxel_nm: np.ndarray, look: Look, rng: np.random.Generator
) -> _Scene:
    cell_grey = CYTOPLASM + look.cell_contrast * rng.standard_normal(int(neurites.ids.max(initial=0)) + 1)
    cell_grey = np.clip(cell_grey, MEMBRANE + 0.22, 0.85).astype(np.float32)
    cell_grey[0] = EXTRACELLULAR
    organelles = place_organelles(neurites, density=look.organelles, rng=rng)
    faintness, shade, mottle = (SmoothField(np.asarray(shape) * voxel_nm, scale_nm, rng) for scale_nm in (160, 600, 70))
    return _Scene(voxel_nm, organelles, cell_grey, faintness, shade, mottle)


def _section_defects(n_sections: int, share: float, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Gain and offset of every section: a slight flicker, and some dark, bright or washed-out ones."""
    gain, offset = 1 + 0.03 * rng.standard_normal(n_sections), 0.01 * rng.standard_normal(n_sections)
    for z in np.flatnonzero(rng.random(n_sections) < share):
        gain[z], offset[z] = DEFECTS[rng.integers(len(DEFECTS))]
    return gain.astype(np.float32), offset.astype(np.float32)


def _paint(scene: _Scene, voxels: Voxels, sections: slice, look: Look, seed: int) -> np.ndarray:
    """The sections without blur, noise and defects: (z, y, x) float32."""
    labels, shape = voxels.labels[sections], voxels.labels.shape
    low, high, size = sections.start, sections.stop, scene.voxel_nm
    faintness, shade, mottle = (f.at(low, high, shape, size) for f in (scene.faintness, scene.shade, scene.mottle))
    grey = scene.cell_grey[labels] + 0.3 * look.cell_contrast * shade
    grey += look.texture * (mottle + 1.5 * white_noise((seed, 3), low, high, shape))
    bodies = scene.organelles
    depth = depth_inside(bodies.mitochondria, labels, low, size, reach_nm=60) + 8 * mottle
    inside = MITOCHONDRION + 0.1 * np.sin(depth / 9) + look.texture * mottle  # shells stand for cristae
    grey = _darken(np.where(depth > 0, inside, grey), depth, MITOCHONDRION_RIM_NM, 0.9)
    for kind, width_nm, strength in (
        (bodies.tubules, TUBULE_NM, 0.6),
        (bodies.cisternae, CISTERNA_NM, 0.75),
        (bodies.vesicles, VESICLE_NM, 0.6),
    ):
        grey = _darken(grey, depth_inside(kind, labels, low, size, reach_nm=50), width_nm, strength)
    faint = look.faint_membranes / (1 + np.exp(-2.5 * (faintness - 0.6)))
    return _darken(grey, voxels.membrane_distance[sections] * np.float32(DISTANCE_STEP_NM), MEMBRANE_NM, 1 - faint)


def _darken(grey: np.ndarray, distance_nm: np.ndarray, width_nm: float, strength: float | np.ndarray) -> np.ndarray:
    """Draw a membrane where the distance is 0."""
    share = (strength * np.exp(-((distance_nm / width_nm) ** 2))).astype(np.float32)
    return (1 - share) * grey + share * np.float32(MEMBRANE)
