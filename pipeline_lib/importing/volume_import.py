"""The import of one volume, from checks of all its files to `volume.json`."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from math import prod
from pathlib import Path
from typing import Any

import numpy as np

from pipeline_lib.artefacts import (
    BlockDone,
    Budget,
    Crew,
    Demand,
    Finished,
    Run,
    compute_blocks,
    crew_for,
    read_json,
    run_task,
    write_json,
)
from pipeline_lib.errors import UserError
from pipeline_lib.geometry import Triple
from pipeline_lib.geometry.grid import Block
from pipeline_lib.importing.block_skeletons import check_makeable, make_skeletons
from pipeline_lib.importing.image import image_block, range_of, usable_in_place
from pipeline_lib.importing.inputs import Inputs, as_arrays, open_inputs
from pipeline_lib.importing.labels import labels_block, stored_dtype
from pipeline_lib.importing.skeletons import check_given, check_on_labels
from pipeline_lib.settings.identity import ALGORITHM_VERSIONS, digest
from pipeline_lib.settings.sources import source_paths
from pipeline_lib.settings.stages import ImportStage, science
from pipeline_lib.skeletons import save_skeletons
from pipeline_lib.volumes import Volume, create_array, open_array, write_box
from pipeline_lib.volumes.content import Cells, cells_of, content_of, fingerprint
from pipeline_lib.volumes.ome import add_levels, write_ome_metadata

IMAGE, LABELS, MASK = "image.zarr/0", "labels.zarr/0", "mask.zarr/0"
_READ_COPIES = 3  # of what is read of a source at once: as stored, in zyx, and converted
_ID_BYTES = 4  # of a label as it is written, at least


@dataclass(frozen=True)
class LargestBlock:
    """That of the blocks of image and labels which takes most memory. kind: "image" or "labels"; n_bytes: read for a voxel."""

    kind: str
    shape_vox: Triple
    n_bytes: int

    @property
    def need_mb(self) -> float:
        return _READ_COPIES * self.n_bytes * prod(self.shape_vox) / 1e6


def import_volume(
    settings: ImportStage,
    folder: Path,
    *,
    run: Run,
) -> None:
    """Convert the volume into `folder`, block by block; `volume.json` is written last.

    Everything that can be checked without reading voxels is checked before anything is written; a complete volume is left
    alone. Mistakes in the files are a UserError that names the volume. Skeletons that are not given are made from the labels.
    """
    try:
        task = VolumeImport(settings, folder, run.budget)
        run_task(task, run)
    except UserError as error:
        raise UserError(f"volume {settings.name}: {error}") from error


class VolumeImport:
    """First the blocks of the image and then those of the labels with their mask, each in the grid that suits its source."""

    def __init__(self, settings: ImportStage, folder: Path, budget: Budget) -> None:
        self.name = f"import {settings.name}"
        self.folder = folder
        self.last_file = folder / "volume.json"
        self._settings = settings
        self._source = as_arrays(settings.volume)
        self._budget = budget

    def __getstate__(self) -> dict[str, Any]:
        """Without opened files, which each process opens for itself."""
        return {name: value for name, value in vars(self).items() if name not in ("opened", "blocks")}

    @cached_property
    def opened(self) -> Inputs:
        return open_inputs(self._source)

    @cached_property
    def blocks(self) -> list[tuple[str, Block]]:
        grids = {"image": self.opened.image.blocks}
        if self.opened.labels is not None:
            grids["labels"] = self.opened.labels.blocks
        return [(kind, block) for kind, grid in grids.items() for block in grid]

    @property
    def n_blocks(self) -> int:
        return len(self.blocks)

    @property
    def inputs(self) -> Mapping[str, str]:
        files = {str(path): fingerprint(path) for path in source_paths(self._source)}
        own = {"the code": str(ALGORITHM_VERSIONS["import"]), "the settings": digest(science(self._settings))}
        return {**own, **files}

    @property
    def layout(self) -> Mapping[str, Any]:
        labels = self.opened.labels
        return {
            "image_block_vox": self.opened.image.blocks.block_vox,
            "labels_block_vox": labels.blocks.block_vox if labels is not None else None,
        }

    @property
    def created(self) -> Sequence[Path]:
        arrays = [IMAGE] * (not self._in_place) + [LABELS] * (self.opened.labels is not None) + [MASK] * self._has_mask
        return [self.folder / array / "zarr.json" for array in arrays]

    @property
    def _in_place(self) -> bool:
        return usable_in_place(self.opened.image, self.opened.intensity_range)

    @property
    def _has_mask(self) -> bool:
        """Whether a voxel can be unlabelled."""
        inputs = self.opened
        return inputs.labels is not None and (inputs.mask is not None or inputs.labels.dtype.kind == "i")

    @property
    def largest_block(self) -> LargestBlock:
        inputs = self.opened
        read = [("image", inputs.image, inputs.image.dtype.itemsize)]
        if inputs.labels is not None:
            n_bytes = max(inputs.labels.dtype.itemsize, _ID_BYTES) + (inputs.mask.dtype.itemsize if inputs.mask else 0)
            read.append(("labels", inputs.labels, n_bytes))
        found = [LargestBlock(kind, source.blocks.largest_read_vox, n_bytes) for kind, source, n_bytes in read]
        return max(found, key=lambda block: block.need_mb)

    def prepare(self, run: Run) -> Crew:
        """UserError for blocks that do not fit, or for skeletons that could not be made from the labels."""
        largest, inputs = self.largest_block, self.opened
        demand = Demand(
            largest.shape_vox,
            lambda _: largest.need_mb,
            setting=f"a block of the {largest.kind},",
            step_vox=largest.shape_vox,
            otherwise="give it more memory",
        )
        crew = crew_for(demand, run.budget, name=self.name, n_blocks=self.n_blocks)
        if run.step.kind in ("plan", "all") and inputs.skeletons is None and inputs.labels is not None:
            check_makeable(inputs.image.shape_vox, run.budget)
        return crew

    def create(self) -> None:
        """Given skeletons are read to check them, and where intensities are percentiles, or ids have 64 bits, the source is."""
        inputs = self.opened
        if inputs.skeletons is not None:
            check_given(inputs.skeletons, inputs.image.stored_shape_vox, inputs.voxel_size_nm)
        attributes = {"axes": "zyx", "voxel_size_nm": list(inputs.voxel_size_nm)}
        shape = inputs.image.shape_vox
        if not self._in_place:
            limits = range_of(inputs.image, inputs.intensity_range)
            more = {"intensity_range": list(limits)} if limits is not None else {}
            create_array(self.folder / IMAGE, shape, "uint8", attributes=attributes | more)
        if inputs.labels is not None:
            create_array(self.folder / LABELS, shape, stored_dtype(inputs.labels), attributes=attributes)
        if self._has_mask:
            create_array(self.folder / MASK, shape, "uint8", attributes=attributes)

    def compute(self, blocks: Sequence[int], crew: Crew) -> Iterator[BlockDone]:
        yield from compute_blocks(self.convert, blocks, crew, name=self.name)

    def convert(self, index: int) -> list[Path]:
        """Write a block of the image, or of labels and mask, and beside it what its cells hold."""
        kind, block = self.blocks[index]
        files, facts = self._convert_image(block) if kind == "image" else self._convert_labels(block)
        path = self._facts(index)
        write_json(path, facts)
        return [*files, path]

    def _facts(self, index: int) -> Path:
        return self.folder / "blocks" / f"{index}.json"

    def _convert_image(self, block: Block) -> tuple[list[Path], dict[str, Any]]:
        box = block.write_box
        if self._in_place:
            return [], {"image": cells_of(box, self.opened.image.read(box))}
        array = open_array(self.folder / IMAGE, writable=True)
        limits: Any = array.attrs.get("intensity_range")
        values = image_block(self.opened.image, box, tuple(limits) if limits is not None else None)
        return write_box(array, box, values), {"image": cells_of(box, values)}

    def _convert_labels(self, block: Block) -> tuple[list[Path], dict[str, Any]]:
        box, inputs = block.write_box, self.opened
        if inputs.labels is None:
            raise ValueError("there are no labels")
        array = open_array(self.folder / LABELS, writable=True)
        found = labels_block(inputs.labels, inputs.mask, box, str(array.dtype))
        files, facts = write_box(array, box, found.labels), {"labels": cells_of(box, found.labels)}
        if not self._has_mask:
            return files, facts
        mask = found.labelled.astype(np.uint8)
        files += write_box(open_array(self.folder / MASK, writable=True), box, mask)
        return files, {**facts, "mask": cells_of(box, mask), "all_labelled": bool(found.labelled.all())}

    def finish(self, budget: Budget) -> Finished:
        told = [read_json(self._facts(index)) for index in range(self.n_blocks)]
        cells: dict[str, Cells] = {name: {} for name in ("image", "labels", "mask")}
        for facts in told:
            for name in cells.keys() & facts.keys():
                cells[name] |= facts[name]
        masked = self._has_mask and not all(facts.get("all_labelled", True) for facts in told)
        inputs, size_nm = self.opened, self.opened.voxel_size_nm
        arrays = {"image": not self._in_place, "labels": inputs.labels is not None, "mask": masked}
        for name in (name for name, is_there in arrays.items() if is_there):
            group = self.folder / f"{name}.zarr"
            add_levels(group, size_nm, labels=name != "image")
            write_ome_metadata(group, name, size_nm, labels=name != "image")
        volume = Volume(
            folder=self.folder,
            name=self._settings.name,
            shape_vox=inputs.image.shape_vox,
            voxel_size_nm=size_nm,
            image_path=str(inputs.image.stored.zarr_path) if self._in_place else IMAGE,
            labels_path=LABELS if inputs.labels is not None else None,
            mask_path=MASK if masked else None,
            skeletons_path=self._add_skeletons(cells["labels"], masked=masked),
            source=inputs.image.where,
        )
        volume.save(cells)
        skeletons = [volume.skeletons_file] if volume.skeletons_file is not None else []
        return Finished([self.last_file, *skeletons])

    def _add_skeletons(self, cells: Cells, *, masked: bool) -> str | None:
        """The path of the skeletons in the folder: those given, or those made from the labels."""
        inputs, path = self.opened, self.folder / LABELS
        skeletons = inputs.given_skeletons()
        if inputs.labels is not None:
            labels = open_array(path)
            if skeletons is None:
                content = content_of({"labels": (labels, cells)}, None)
                skeletons = make_skeletons(
                    path,
                    self.folder / "skeletons",
                    inputs.voxel_size_nm,
                    labels_content=content,
                    budget=self._budget,
                )
            else:
                mask = open_array(self.folder / MASK) if masked else None
                check_on_labels(skeletons, labels, mask, inputs.voxel_size_nm, str(inputs.skeletons))
        if skeletons is None:
            return None
        save_skeletons(self.folder / "skeletons.npz", skeletons)
        return "skeletons.npz"
