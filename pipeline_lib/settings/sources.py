"""The files that a run starts from, checked before any job starts."""

from __future__ import annotations

import json
import os
from pathlib import Path

from pipeline_lib.errors import UserError
from pipeline_lib.settings import identity
from pipeline_lib.settings.paths import Paths
from pipeline_lib.settings.project import Project
from pipeline_lib.settings.volumes import ArrayVolume, NISBVolume, SourceArray, SyntheticVolume

_ZARR_METADATA = ("zarr.json", ".zarray", ".zgroup")


def check_sources(project: Project) -> None:
    """UserError that names the first file that is not there or no array, or a results folder that cannot be written."""
    for name, volume in project.volumes.items():
        for path in source_paths(volume):
            if not path.exists():
                raise UserError(f"volumes.{name}: {path} does not exist (paths start at the working directory, {Path.cwd()})")
        for path in filter(Path.is_dir, array_paths(volume)):
            try:
                zarr_shape(path)
            except UserError as error:
                raise UserError(f"volumes.{name}: {error}") from None
            except (OSError, ValueError, TypeError):
                continue  # broken metadata: import says what is wrong
    for name in Paths(project).scored():
        for file in Paths(project).against(identity.volume_id(project, name)):
            if not Path(file).exists():
                raise UserError(
                    f"evaluation.against: {file} does not exist; give a folder `.../evaluations/<id>` of the same volumes"
                )
    nearest = Path(project.results).absolute()
    while not nearest.exists():
        nearest = nearest.parent
    if not nearest.is_dir() or not os.access(nearest, os.W_OK):
        raise UserError(f"results: {nearest} is not a folder that can be written; give another one as `results`")


def source_files(volume: ArrayVolume | NISBVolume | SyntheticVolume) -> list[str]:
    """Files whose change means that the volume must be imported again: for a zarr folder its metadata."""
    return [str(file) for path in source_paths(volume) for file in _changing(path)]


def source_state(volume: ArrayVolume | NISBVolume | SyntheticVolume) -> str:
    """A digest of sizes and times of what a volume is read from, to tell that it was edited or replaced, also by older files.

    Of a zarr folder those of its metadata and of the folders in it, which change with any file that is written anew; what is
    overwritten in its place is found where the files are read (`volumes.content.fingerprint`).
    """
    return identity.digest([_state(file) for path in source_paths(volume) for file in [*_changing(path), *_folders(path)]])


def _state(path: Path) -> list[str | int]:
    found = path.stat()
    return [str(path), found.st_size, found.st_mtime_ns]


def _folders(path: Path) -> list[Path]:
    return [Path(folder) for folder, _, _ in os.walk(path)]


def source_paths(volume: ArrayVolume | NISBVolume | SyntheticVolume) -> list[Path]:
    """The files and folders that a volume is read from."""
    if isinstance(volume, NISBVolume):
        skeletons: list[Path] = [Path(volume.path) / "skeleton.pkl"]
    else:
        skeletons = [Path(volume.skeletons)] if isinstance(volume, ArrayVolume) and volume.skeletons is not None else []
    return list(dict.fromkeys([*array_paths(volume), *skeletons]))


def array_paths(volume: ArrayVolume | NISBVolume | SyntheticVolume) -> list[Path]:
    """Those of the image first, labels and mask: files, or folders that are zarr arrays."""
    if isinstance(volume, SyntheticVolume):
        return []
    if isinstance(volume, NISBVolume):
        return [Path(volume.path) / "data.zarr" / array for array in ("img", "seg")]
    return [_array_path(source) for source in (volume.image, volume.labels, volume.mask) if source is not None]


def zarr_shape(folder: Path) -> tuple[int, ...]:
    """The shape of a zarr array as its metadata tell it; UserError for a folder that is none."""
    file = next((folder / name for name in ("zarr.json", ".zarray") if (folder / name).exists()), None)
    metadata = json.loads(file.read_text(encoding="utf-8")) if file is not None else {}
    if "shape" not in metadata:
        raise UserError(
            f"{folder} is not a zarr array: it has no zarr.json or .zarray that tells a shape; is it a group, one array of "
            "which `array` must name?"
        )
    return tuple(metadata["shape"])


def _array_path(source: SourceArray) -> Path:
    path = Path(source.path)
    return path / source.array.strip("/") if source.array and path.is_dir() else path


def _changing(path: Path) -> list[Path]:
    if not path.is_dir():
        return [path]
    return [path / name for name in _ZARR_METADATA if (path / name).exists()]
