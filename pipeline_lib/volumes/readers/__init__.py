"""Files that volumes are imported from.

A new format is a module like `hdf5` with DESCRIPTION, `accepts` and `open_stored`, and a place in FORMATS.
"""

from __future__ import annotations

from pathlib import Path
from typing import Protocol

from pipeline_lib.errors import UserError
from pipeline_lib.settings.volumes import Slab, SourceArray
from pipeline_lib.volumes.readers import hdf5, zarr_arrays
from pipeline_lib.volumes.readers.source import Source
from pipeline_lib.volumes.readers.stored import StoredArray


class Format(Protocol):
    """A kind of file."""

    DESCRIPTION: str

    def accepts(self, path: Path, /) -> bool: ...

    def open_stored(self, path: Path, array: str | None, /) -> StoredArray: ...


FORMATS: tuple[Format, ...] = (hdf5, zarr_arrays)


def open_source(source: SourceArray, *, axes: str = "zyx", slab: Slab | None = None) -> Source:
    """The array that the settings name, or a slab of it, by the first format that accepts its file. No voxel is read yet."""
    path = Path(source.path).absolute()
    if not path.exists():
        raise UserError(f"{path} does not exist")
    for kind in FORMATS:
        if kind.accepts(path):
            return Source(kind.open_stored(path, source.array), axes=axes, slab=slab)
    known = " or ".join(kind.DESCRIPTION for kind in FORMATS)
    raise UserError(f"{path} is of an unknown kind; expected {known}")


__all__ = ["FORMATS", "Format", "Source", "StoredArray", "open_source"]
