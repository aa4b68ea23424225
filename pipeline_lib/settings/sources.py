"""The files that a run starts from, checked before any job starts."""

from __future__ import annotations

import os
from pathlib import Path

from pipeline_lib.errors import UserError
from pipeline_lib.settings import identity
from pipeline_lib.settings.paths import Paths
from pipeline_lib.settings.project import Project
from pipeline_lib.settings.volumes import ArrayVolume, NISBVolume, SourceArray, SyntheticVolume

_ZARR_METADATA = ("zarr.json", ".zarray", ".zgroup")


def check_sources(project: Project) -> None:
    """UserError that names the first file that is not there, or a results folder that cannot be written."""
    for name, volume in project.volumes.items():
        for path in source_paths(volume):
            if not path.exists():
                raise UserError(f"volumes.{name}: {path} does not exist (paths start at the working directory, {Path.cwd()})")
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
    if isinstance(volume, SyntheticVolume):
        return []
    if isinstance(volume, NISBVolume):
        folder = Path(volume.path)
        return [folder / "data.zarr" / "img", folder / "data.zarr" / "seg", folder / "skeleton.pkl"]
    arrays = [source for source in (volume.image, volume.labels, volume.mask) if source is not None]
    paths = [_array_path(source) for source in arrays]
    if volume.skeletons is not None:
        paths.append(Path(volume.skeletons))
    return list(dict.fromkeys(paths))


def _array_path(source: SourceArray) -> Path:
    path = Path(source.path)
    return path / source.array.strip("/") if source.array and path.is_dir() else path


def _changing(path: Path) -> list[Path]:
    if not path.is_dir():
        return [path]
    return [path / name for name in _ZARR_METADATA if (path / name).exists()]
