"""Files of one array or of several by name: complete or not there, and never with a pickle in them."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from zipfile import BadZipFile

import numpy as np

from pipeline_lib.artefacts.atomic import replacing
from pipeline_lib.errors import UserError


def write_arrays(path: Path, arrays: Mapping[str, np.ndarray], *, compressed: bool = False) -> None:
    """A `.npz` file. compressed: smaller, but several times slower to write."""
    save = np.savez_compressed if compressed else np.savez
    with replacing(path) as aside, aside.open("wb") as file:
        save(file, allow_pickle=False, **arrays)


def read_arrays(path: Path) -> dict[str, np.ndarray]:
    """What `write_arrays` wrote; UserError for a file that is torn or of another kind."""
    try:
        with np.load(path, allow_pickle=False) as arrays:
            return {name: arrays[name] for name in arrays.files}
    except (OSError, ValueError, AttributeError, BadZipFile) as error:
        raise UserError(f"cannot read the arrays in {path}: {error}") from error


def write_array(path: Path, array: np.ndarray) -> None:
    """A `.npy` file, which `map_array` need not hold in memory."""
    with replacing(path) as aside, aside.open("wb") as file:
        np.save(file, array, allow_pickle=False)


def map_array(path: Path) -> np.ndarray:
    """The array in a `.npy` file, read-only, of which only those parts are read that are used."""
    try:
        array: np.ndarray = np.load(path, mmap_mode="r", allow_pickle=False)
    except (OSError, ValueError) as error:
        raise UserError(f"cannot read the array {path}: {error}") from error
    return array
