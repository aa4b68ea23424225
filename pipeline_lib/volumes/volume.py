"""An imported volume: what every stage after import reads."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import zarr

from pipeline_lib.artefacts import read_json, write_json
from pipeline_lib.artefacts.complete import check_complete
from pipeline_lib.errors import UserError
from pipeline_lib.geometry import Triple
from pipeline_lib.settings.identity import digest
from pipeline_lib.settings.volumes import VoxelSize
from pipeline_lib.volumes.arrays import open_array
from pipeline_lib.volumes.content import Cells, cells_of_array, content_of, fingerprint

SCHEMA = 2


@dataclass(frozen=True)
class Volume:
    """The folder `volumes/<volume id>/`; its `volume.json` is written last, so that its presence means completeness.

    image: uint8 (z, y, x). labels: unsigned (z, y, x), 0 = background. mask: uint8 (z, y, x), 1 = labelled, 0 = unlabelled;
    without a mask every voxel is labelled. Paths are relative to the folder; that of an image used where it lies is absolute.
    content: digest of all voxels and skeletons, by which later stages notice a source that was replaced in place. in_place: of
    an image used where it lies, a digest of the sizes and times of its files, which is quicker to tell.
    """

    folder: Path
    name: str
    shape_vox: Triple
    voxel_size_nm: VoxelSize
    image_path: str = "image.zarr/0"
    labels_path: str | None = None
    mask_path: str | None = None
    skeletons_path: str | None = None
    source: str = ""
    content: str = ""
    in_place: str = ""

    def save(self, cells: Mapping[str, Cells] | None = None) -> Volume:
        """Write `volume.json`, with a digest of all voxels and skeletons as `content`; returns the volume as it was written.

        cells: digests of the cells of "image", "labels" and "mask" as far as they are known; other arrays are read.
        """
        in_place = fingerprint(Path(self.image_path)) if Path(self.image_path).is_absolute() else ""
        made = replace(self, content=self._digest(cells or {}), in_place=in_place)
        made._write()
        return made

    def state(self) -> str:
        """A digest of all that later stages read; UserError if that has changed since import, which then counts for nothing."""
        file = self.folder / "volume.json"
        if (self.folder / "plan.json").exists():  # as of every volume that a stage made
            check_complete(self.folder, last_file=file)
        if self.in_place and fingerprint(Path(self.image_path)) != self.in_place and self._digest({}) != self.content:
            what = f"volume {self.name}: the image {self.image_path} has changed since it was imported"
            try:
                file.unlink(missing_ok=True)
            except OSError as error:
                why = error.strerror or error
                raise UserError(
                    f"{what}, but {file} cannot be removed: {why}; import it anew, with leave to write there"
                ) from error
            raise UserError(f"{what}; run the workflow again, which imports it anew")
        return digest(self.content, list(self.shape_vox), list(self.voxel_size_nm))

    def _digest(self, cells: Mapping[str, Cells]) -> str:
        arrays = {"image": self.image(), "labels": self.labels(), "mask": self.mask()}
        found = {name: (array, cells.get(name) or cells_of_array(array)) for name, array in arrays.items() if array is not None}
        return content_of(found, self.skeletons_file)

    def _write(self) -> None:
        content = {
            "schema": SCHEMA,
            "name": self.name,
            "shape_vox": list(self.shape_vox),
            "voxel_size_nm": list(self.voxel_size_nm),
            "axes": "zyx",
            "source": self.source,
            "image": self.image_path,
            "labels": self.labels_path,
            "mask": self.mask_path,
            "skeletons": self.skeletons_path,
            "content": self.content,
            "in_place": self.in_place,
        }
        write_json(self.folder / "volume.json", content)

    @classmethod
    def open(cls, folder: Path) -> Volume:
        facts = read_json(folder / "volume.json")
        if facts.get("schema") != SCHEMA:
            raise UserError(
                f"{folder}/volume.json has schema {facts.get('schema')}, expected {SCHEMA}; import the volume again"
            )
        z, y, x = facts["shape_vox"]
        sz, sy, sx = facts["voxel_size_nm"]
        paths = (facts["image"], facts["labels"], facts["mask"], facts["skeletons"])
        return cls(folder, facts["name"], (z, y, x), (sz, sy, sx), *paths, facts["source"], facts["content"], facts["in_place"])

    def image(self) -> zarr.Array:
        return self._open(self.image_path)

    def labels(self) -> zarr.Array | None:
        return self._open(self.labels_path) if self.labels_path else None

    def mask(self) -> zarr.Array | None:
        return self._open(self.mask_path) if self.mask_path else None

    @property
    def skeletons_file(self) -> Path | None:
        return self.folder / self.skeletons_path if self.skeletons_path else None

    def _open(self, path: str) -> zarr.Array:
        array = open_array(self.folder / path)
        if array.shape != self.shape_vox:
            raise UserError(
                f"{self.folder / path} has shape {array.shape}, but had {self.shape_vox} at import; import it again"
            )
        return array
