"""Which parts of an array are done: one small file per shard, bound to what the array is computed from."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pipeline_lib.artefacts.atomic import read_json, write_json
from pipeline_lib.errors import UserError


@dataclass(frozen=True)
class ShardStore:
    """Records of an artefact's shards under `folder/shards/` and of its completion in `folder/complete.json`.

    `digest` stands for settings, inputs and code version: a record with another digest counts as not done.
    A shard is recorded after its voxels are on disk, so a kill costs at most the shards in work.
    """

    folder: Path
    digest: str

    def _path(self, index: int) -> Path:
        return self.folder / "shards" / f"{index}.json"

    @property
    def complete_path(self) -> Path:
        return self.folder / "complete.json"

    def is_done(self, index: int) -> bool:
        path = self._path(index)
        if not path.exists():
            return False
        try:
            record = read_json(path)
        except UserError:  # a torn file: do the shard again
            return False
        return bool(isinstance(record, dict) and record.get("digest") == self.digest)

    def missing(self, indices: Iterable[int]) -> list[int]:
        return [i for i in indices if not self.is_done(i)]

    def record(self, index: int, **facts: Any) -> None:
        write_json(self._path(index), {"digest": self.digest, **facts})

    def finish(self, n_shards: int, **facts: Any) -> None:
        """Verify that every shard is done and say so in `complete.json`, which is what downstream rules wait for."""
        missing = self.missing(range(n_shards))
        if missing:
            raise UserError(f"{self.folder}: {len(missing)} of {n_shards} shards are missing, the first is {missing[0]}")
        write_json(self.complete_path, {"digest": self.digest, "n_shards": n_shards, **facts})
