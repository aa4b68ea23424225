"""The image: which values become 0 and 255, and its voxels as uint8."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from tqdm import tqdm

from pipeline_lib.errors import UserError
from pipeline_lib.geometry import Box
from pipeline_lib.importing.intensity import percentiles_of, to_uint8
from pipeline_lib.settings.volumes import IntensityRange
from pipeline_lib.volumes.readers import Source

LARGEST_CHUNK_BYTES = 16 << 20  # of an image used where it lies: reading a training patch decodes every chunk that it meets


def check_image(source: Source, intensity_range: IntensityRange | None) -> None:
    """UserError for values that are not numbers, or need a range that is not given."""
    if source.dtype.kind not in "iuf":
        raise UserError(f"image: {source.where} has dtype {source.dtype}; expected integers or floats")
    if intensity_range is None and source.dtype != np.uint8:
        raise UserError(
            f"image: {source.where} has dtype {source.dtype}; give `intensity_range` (low and high, or percentiles such as "
            "[0.1, 99.9]), because only uint8 is taken as it is"
        )


def usable_in_place(source: Source, intensity_range: IntensityRange | None) -> bool:
    """Whether all stages can read the image where it lies: uint8 zarr, zyx, whole, no conversion, chunks that suit patches."""
    small = np.prod(source.chunk_vox) * source.dtype.itemsize <= LARGEST_CHUNK_BYTES
    is_image = source.dtype == np.uint8 and source.is_zyx and intensity_range is None
    return bool(source.stored.zarr_path is not None and source.is_whole and is_image and small)


def range_of(source: Source, intensity_range: IntensityRange | None) -> tuple[float, float] | None:
    """The values that become 0 and 255; None where the image is taken as it is. Percentiles read the whole image."""
    if intensity_range is None:
        return None
    if intensity_range.percentiles is None:
        if intensity_range.low is None or intensity_range.high is None:
            raise ValueError("an intensity range has low and high, or percentiles")
        return intensity_range.low, intensity_range.high

    def blocks() -> Iterator[np.ndarray]:
        return (_finite(source, block.write_box) for block in tqdm(source.blocks, desc="intensities", unit="block"))

    low, high = percentiles_of(blocks, source.dtype, intensity_range.percentiles)
    if not low < high:
        raise UserError(
            f"image: percentiles {intensity_range.percentiles} of {source.where} are {low:g} and {high:g}, which leaves no "
            "contrast; give intensity_range.low and high"
        )
    return low, high


def image_block(source: Source, box: Box, limits: tuple[float, float] | None) -> np.ndarray:
    """(z, y, x) uint8 of a box; limits: the values that become 0 and 255."""
    values = _finite(source, box)
    return values if limits is None else to_uint8(values, *limits)


def _finite(source: Source, box: Box) -> np.ndarray:
    values = source.read(box)
    if values.dtype.kind == "f":
        bad = ~np.isfinite(values)
        if bad.any():
            first = np.argwhere(bad)[0] + box.start_vox
            raise UserError(
                f"image: {source.where} has {bad.sum()} NaN or infinite values in voxels {box.start_vox} to "
                f"{box.stop_vox}, the first at {tuple(first.tolist())} (z, y, x); replace them"
            )
    return values
