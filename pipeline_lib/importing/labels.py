"""Labels become unsigned with 0 as background; what is unlabelled becomes 0 in the mask."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from tqdm import tqdm

from pipeline_lib.errors import UserError
from pipeline_lib.geometry import Box
from pipeline_lib.volumes.readers import Source

UNLABELLED = -1
LARGEST_ID = np.iinfo(np.int64).max


@dataclass(frozen=True)
class Labelling:
    """labels: unsigned, 0 = background. labelled: bool, of the same shape."""

    labels: np.ndarray
    labelled: np.ndarray


def check_labels(source: Source, mask: Source | None) -> None:
    """UserError for labels that are not integers, or a mask of floats."""
    if source.dtype.kind not in "iu":
        raise UserError(f"labels: {source.where} has dtype {source.dtype}; expected integers, 0 = background, -1 = unlabelled")
    if mask is not None and mask.dtype.kind not in "biu":
        raise UserError(f"mask: {mask.where} has dtype {mask.dtype}; expected bool or integers, 0 = unlabelled")


def stored_dtype(source: Source) -> str:
    """uint32 if all ids fit, else uint64. Types of up to 32 bits fit; of wider ones the whole array is read to see."""
    if source.dtype.itemsize <= 4:
        return "uint32"
    largest = 0
    for block in tqdm(source.blocks, desc="label ids", unit="block"):
        largest = max(largest, int(source.read(block.write_box).max()))
    if largest > LARGEST_ID:
        raise UserError(f"labels: {source.where} has the id {largest}; expected at most {LARGEST_ID}: give other ids")
    return "uint32" if largest <= np.iinfo(np.uint32).max else "uint64"


def labelling_of(values: np.ndarray, dtype: str, given_mask: np.ndarray | None = None) -> Labelling:
    """Split ids (z, y, x) with -1 for unlabelled. Where the mask is 0, labels become 0 too.

    Other negative ids are a UserError.
    """
    labelled = values != UNLABELLED if values.dtype.kind == "i" else np.ones(values.shape, bool)
    if values.dtype.kind == "i" and values.min() < UNLABELLED:
        worst = values.min()
        raise UserError(f"the id {worst} is negative; expected ids from 1, 0 = background, -1 = unlabelled")
    if given_mask is not None:
        labelled &= given_mask != 0
    return Labelling(np.where(labelled, values, 0).astype(dtype), labelled)


def labels_block(source: Source, mask: Source | None, box: Box, dtype: str) -> Labelling:
    """`labelling_of` a box."""
    values = source.read(box)
    try:
        return labelling_of(values, dtype, None if mask is None else mask.read(box))
    except UserError as error:
        raise UserError(f"labels: {source.where}, voxels {box.start_vox} to {box.stop_vox}: {error}") from error
