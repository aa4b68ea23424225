"""zarr arrays of formats 2 and 3, alone or in groups."""

from __future__ import annotations

import json
from pathlib import Path, PurePosixPath
from typing import Any

import zarr

from pipeline_lib.errors import UserError
from pipeline_lib.volumes.readers.stored import StoredArray, listed

DESCRIPTION = "a folder with a zarr array or group (format 2 or 3)"
METADATA_FILES = ("zarr.json", ".zarray", ".zgroup")


def accepts(path: Path) -> bool:
    return path.is_dir()


def open_stored(path: Path, array: str | None) -> StoredArray:
    """The array at `path`, or below it at `array`."""
    parts = PurePosixPath(array or "").parts
    if ".." in parts or "/" in parts:
        raise UserError(f"`array` is a path inside {path}, got {array!r}")
    target = path.joinpath(*parts)
    if not target.is_dir():
        raise UserError(f"the zarr folder {path} has no array {array!r}; arrays in it: {listed(_arrays(path))}")
    if not _has_metadata(target):
        raise UserError(
            f"{target} has no zarr metadata (one of {', '.join(METADATA_FILES)}); "
            f"arrays in {path}: {listed(_arrays(path))}; is the copy complete?"
        )
    found = _open(target)
    if isinstance(found, zarr.Group):
        raise UserError(f"{target} is a zarr group, not an array; name one of its arrays as `array`: {listed(_arrays(target))}")
    attributes: dict[str, Any] = {}
    for depth in range(len(parts)):
        folder = path.joinpath(*parts[:depth])
        attributes |= dict(_open(folder).attrs) if _has_metadata(folder) else {}
    return StoredArray(found, str(target), found.chunks, attributes | dict(found.attrs), zarr_path=target)


def _has_metadata(path: Path) -> bool:
    return any((path / name).exists() for name in METADATA_FILES)


def _open(path: Path) -> zarr.Array | zarr.Group:
    try:
        return zarr.open(store=path, mode="r")
    except Exception as error:  # zarr raises many kinds for broken metadata
        raise UserError(f"cannot read the zarr metadata in {path}: {type(error).__name__}: {error}") from error


def _arrays(path: Path) -> list[str]:
    """Paths of the arrays below a folder."""
    names: list[str] = []
    open_folders = [path]
    while open_folders:
        for below in (p for p in open_folders.pop().iterdir() if p.is_dir()):
            if _is_array(below):
                names.append(below.relative_to(path).as_posix())
            elif _has_metadata(below):
                open_folders.append(below)
    return names


def _is_array(folder: Path) -> bool:
    """Looks at the metadata file alone, so that arrays can be listed where others are broken."""
    if (folder / ".zarray").exists():
        return True
    try:
        return bool(json.loads((folder / "zarr.json").read_text(encoding="utf-8"))["node_type"] == "array")
    except (OSError, ValueError, KeyError, TypeError):
        return False
