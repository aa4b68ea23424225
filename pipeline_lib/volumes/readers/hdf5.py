"""HDF5 files."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import h5py

from pipeline_lib.errors import UserError
from pipeline_lib.volumes.readers.stored import StoredArray, listed

DESCRIPTION = "HDF5 (.h5, .hdf5, .hdf)"
SUFFIXES = (".h5", ".hdf5", ".hdf")
SIGNATURE = b"\x89HDF\r\n\x1a\n"


def accepts(path: Path) -> bool:
    """By the suffix, or by the first bytes."""
    if not path.is_file():
        return False
    if path.suffix.lower() in SUFFIXES:
        return True
    with path.open("rb") as file:
        return file.read(len(SIGNATURE)) == SIGNATURE


def open_stored(path: Path, array: str | None) -> StoredArray:
    """The dataset `array` of the file; a single dataset needs no name. The file stays open as long as the result lives."""
    try:
        file = h5py.File(path, "r")
    except OSError as error:
        raise UserError(f"cannot open the HDF5 file {path}: {error}; is it complete?") from error
    name = array if array is not None else _only_dataset(file, path)
    if name not in file:
        raise UserError(f"the HDF5 file {path} has no array {name!r}; arrays in it: {listed(_datasets(file))}")
    try:
        dataset = file[name]
    except (OSError, RuntimeError, KeyError) as error:
        raise UserError(f"cannot open {name!r} in the HDF5 file {path}: {error}; is it complete?") from error
    if not isinstance(dataset, h5py.Dataset):
        raise UserError(
            f"{name!r} in the HDF5 file {path} is a group, not an array; arrays in it: {listed(_datasets(dataset))}"
        )
    if dataset.shape is None:
        raise UserError(f"{name!r} in the HDF5 file {path} is empty")
    # Without chunks, rows along the last axis lie one after the other.
    chunks = dataset.chunks or (*(1 for _ in dataset.shape[:-1]), *dataset.shape[-1:])
    return StoredArray(dataset, f"{path} array {name!r}", chunks, _attributes(file, name))


def _datasets(group: h5py.Group) -> list[str]:
    names: list[str] = []
    group.visititems(lambda name, item: names.append(name) if isinstance(item, h5py.Dataset) else None)
    return names


def _only_dataset(file: h5py.File, path: Path) -> str:
    names = _datasets(file)
    if len(names) != 1:
        raise UserError(f"`array` must name one of the arrays in the HDF5 file {path}: {listed(names)}")
    return names[0]


def _attributes(file: h5py.File, name: str) -> dict[str, Any]:
    item: Any = file
    attributes = dict(item.attrs)
    for part in name.strip("/").split("/"):
        item = item[part]
        attributes |= dict(item.attrs)
    return attributes
