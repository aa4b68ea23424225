"""What a complete artefact tells those who read it; one of which a file has changed is unfinished from then on."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from pipeline_lib.artefacts.atomic import read_json
from pipeline_lib.artefacts.records import Records, are_intact
from pipeline_lib.errors import UserError

PLAN_KEYS = ("schema", "inputs", "layout", "n_blocks")  # those of plan.json, which complete.json has too


def content_of_complete(folder: Path) -> str:
    """The digest of the blocks of a complete artefact; UserError where there is none, or where a block has changed since."""
    complete = read_if_there(folder / "complete.json")
    if complete is None or "content" not in complete:
        raise UserError(f"{folder} holds no complete result; run the stage that makes it")
    check_complete(folder, last_file=folder / "complete.json")
    return str(complete["content"])


def check_complete(folder: Path, *, last_file: Path) -> None:
    """UserError if a file of a complete artefact is no longer as it was written; the artefact is unfinished from then on.

    Files of the same size and time are taken to be the same; others are read.
    """
    complete = read_if_there(folder / "complete.json") or {}
    records = Records(folder, plan_digest({key: complete.get(key) for key in PLAN_KEYS}))
    found = records.read()
    damaged = {b for b, record in found.items() if not record.is_intact(folder, trust_time=True)}
    damaged |= {b for b in range(complete.get("n_blocks", 0)) if b not in found}
    if complete and not damaged and are_intact(folder, complete.get("files", {}), trust_time=True):
        return
    with changing(folder):
        forget_jobs(records, damaged)
        for path in (last_file, folder / "complete.json"):
            path.unlink(missing_ok=True)
    if damaged:
        n = f"{len(damaged)} of {complete['n_blocks']} blocks"
        what = f"{n} have changed since they were computed, the first is {min(damaged)}"
    else:
        what = "a file has changed since it was written" if complete else "it was not finished"
    raise UserError(f"{folder}: {what}; run the workflow again, which makes it anew")


def job_records(folder: Path, n_jobs: int) -> list[str]:
    """What `n_jobs` jobs leave in `folder`, and finishing waits for: none where one process does it all.

    Of a complete artefact the records of those jobs that made it, so that another division asks for nothing.
    """
    complete = read_if_there(folder / "complete.json") or {}
    n = complete.get("n_jobs", n_jobs)
    return [f"{folder}/shards/{k}-of-{n}.json" for k in range(n)] if n > 1 else []


def forget_jobs(records: Records, blocks: set[int]) -> None:
    """Remove what says that jobs with these blocks are done, so that the workflow runs them again."""
    for path in records.shards.glob("*-of-*.json"):
        told = read_if_there(path) or {}
        if told.get("digest") != records.digest or blocks & {record["block"] for record in told["blocks"]}:
            path.unlink(missing_ok=True)


def plan_digest(plan: Mapping[str, Any]) -> str:
    return hashlib.sha256(json.dumps(plan, sort_keys=True).encode()).hexdigest()[:16]


@contextmanager
def changing(folder: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise UserError(f"cannot write in {folder}: {error.strerror or error}") from error


def read_if_there(path: Path) -> dict[str, Any] | None:
    """A JSON object, or None where there is none; a torn file counts as none."""
    if not path.exists():
        return None
    try:
        content = read_json(path)
    except UserError:
        return None
    return content if isinstance(content, dict) else None
