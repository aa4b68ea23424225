"""Files of one array or of several by name: complete or not there, and never with a pickle in them."""

from __future__ import annotations

import zlib
from collections.abc import Iterator, Mapping
from math import prod
from pathlib import Path
from typing import IO
from zipfile import BadZipFile, ZipFile

import numpy as np

from pipeline_lib.artefacts.atomic import replacing
from pipeline_lib.errors import UserError

_PART_ROWS = 30_000


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


def length_of(path: Path, name: str) -> int:
    """How many rows one array of a `.npz` file has, without reading it. UserError as `read_arrays`."""
    try:
        with ZipFile(path) as archive, archive.open(f"{name}.npy") as file:
            return _header(file)[0][0]
    except (OSError, ValueError, LookupError, EOFError, BadZipFile, zlib.error) as error:
        raise UserError(f"cannot read the arrays in {path}: {error}") from error


def read_in_parts(path: Path, name: str) -> Iterator[np.ndarray]:
    """One array of a `.npz` file, so many rows at a time, without holding the others. UserError as `read_arrays`."""
    try:
        with ZipFile(path) as archive, archive.open(f"{name}.npy") as file:
            shape, in_columns, dtype = _header(file)
            if not in_columns and not dtype.hasobject:
                for start in range(0, shape[0], _PART_ROWS):
                    part = (min(_PART_ROWS, shape[0] - start), *shape[1:])
                    yield np.frombuffer(file.read(prod(part) * dtype.itemsize), dtype).reshape(part)
                return
    except (OSError, ValueError, LookupError, EOFError, BadZipFile, zlib.error) as error:
        raise UserError(f"cannot read the arrays in {path}: {error}") from error
    whole = read_arrays(path)[name]  # stored column by column, as some foreign files are
    yield from (whole[start : start + _PART_ROWS] for start in range(0, len(whole), _PART_ROWS))


def _header(file: IO[bytes]) -> tuple[tuple[int, ...], bool, np.dtype]:
    """Shape, whether it lies column by column, and type of the array in a `.npy` file."""
    version = np.lib.format.read_magic(file)
    read = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
    shape, in_columns, dtype = read(file)
    return shape, in_columns, dtype


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
