"""A generated volume in the form that import gives to real ones."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from math import prod
from pathlib import Path
from typing import Any

import numpy as np

from pipeline_lib.artefacts import BlockDone, Budget, Crew, Finished, Run, compute_blocks, read_json, run_task, write_json
from pipeline_lib.artefacts.budget import PROCESS_MB
from pipeline_lib.errors import UserError
from pipeline_lib.geometry import Box
from pipeline_lib.settings.identity import ALGORITHM_VERSIONS, digest
from pipeline_lib.settings.stages import science
from pipeline_lib.settings.volumes import SyntheticVolume as SyntheticSettings
from pipeline_lib.skeletons import save_skeletons
from pipeline_lib.synthetic.volume import generate
from pipeline_lib.volumes import Volume, create_array, open_array, write_box
from pipeline_lib.volumes.content import cells_of
from pipeline_lib.volumes.ome import write_ome_metadata

_VOXEL_BYTES = 25  # while a volume is generated
IMAGE, LABELS = "image.zarr", "labels.zarr"


def generate_volume(name: str, settings: SyntheticSettings, folder: Path, *, run: Run) -> None:
    """Generate a volume and write image, labels, skeletons and, last, `volume.json` into `folder`.

    The volume is held in memory; UserError for one that does not fit into the budget.
    """
    run_task(Generation(name, settings, folder), run)


class Generation:
    """One block, which is the volume."""

    n_blocks = 1
    layout: Mapping[str, Any] = {}

    def __init__(self, name: str, settings: SyntheticSettings, folder: Path) -> None:
        self.name = f"import {name}"
        self.folder = folder
        self.created = tuple(folder / group / "0" / "zarr.json" for group in (IMAGE, LABELS))
        self.last_file = folder / "volume.json"
        self._volume_name = name
        self._settings = settings
        self._slab = Box(*settings.slab_vox)

    @property
    def inputs(self) -> Mapping[str, str]:
        return {
            "the code": str(ALGORITHM_VERSIONS["import"]),
            "the settings": digest(self._volume_name, science(self._settings)),
        }

    def prepare(self, run: Run) -> Crew:
        """UserError for a volume that does not fit into memory."""
        shape_vox = self._settings.shape_vox
        need_mb = PROCESS_MB + _VOXEL_BYTES * prod(shape_vox) / 1e6
        if need_mb > run.budget.memory_mb:
            raise UserError(
                f"a synthetic volume of {' x '.join(map(str, shape_vox))} voxels takes {need_mb:.0f} MB, but the memory "
                f"budget is {run.budget.memory_mb:.0f} MB; make volumes.{self._volume_name}.shape_vox smaller"
            )
        return Crew(workers=1, threads=run.budget.threads)

    def create(self) -> None:
        attributes = {"axes": "zyx", "voxel_size_nm": list(self._settings.voxel_size_nm)}
        for group, dtype in ((IMAGE, "uint8"), (LABELS, "uint32")):
            create_array(self.folder / group / "0", self._slab.shape_vox, dtype, attributes=attributes)

    def compute(self, blocks: Sequence[int], crew: Crew) -> Iterator[BlockDone]:
        yield from compute_blocks(self.generate, blocks, crew, name=self.name)

    def generate(self, index: int) -> list[Path]:
        settings, slab, box = self._settings, self._slab, Box.of_shape(self._slab.shape_vox)
        made = generate(settings.shape_vox, voxel_size_nm=settings.voxel_size_nm, seed=settings.seed)
        image, labels = (np.ascontiguousarray(values[slab.slices]) for values in (made.image, made.labels))
        files = []
        for group, values in ((IMAGE, image), (LABELS, labels)):
            files += write_box(open_array(self.folder / group / "0", writable=True), box, values)
        path, facts = self.folder / "skeletons.npz", self.folder / "facts.json"
        skeletons = made.skeletons.within(slab, settings.voxel_size_nm)
        save_skeletons(path, skeletons)
        n_neurites = len(np.unique(skeletons.node_skeleton_ids))
        write_json(facts, {"image": cells_of(box, image), "labels": cells_of(box, labels), "n_neurites": n_neurites})
        return [*files, path, facts]

    def finish(self, budget: Budget) -> Finished:
        settings, facts = self._settings, read_json(self.folder / "facts.json")
        for group in (IMAGE, LABELS):
            write_ome_metadata(self.folder / group, Path(group).stem, settings.voxel_size_nm, labels=group == LABELS)
        Volume(
            self.folder,
            self._volume_name,
            self._slab.shape_vox,
            settings.voxel_size_nm,
            labels_path=f"{LABELS}/0",
            skeletons_path="skeletons.npz",
            source=f"synthetic, seed {settings.seed}",
        ).save({name: facts[name] for name in ("image", "labels")})
        print(f"{self._volume_name}: {facts['n_neurites']} neurites in {' x '.join(map(str, self._slab.shape_vox))} voxels")
        return Finished([self.last_file])
