"""Artefacts that are computed block by block, by any number of jobs that may run anywhere and at once.

    plan     creates what the blocks are written into, and says in plan.json from what they are computed, and in which grid
    k/n      the k-th of n jobs computes its share of the blocks and writes shards/<k>-of-<n>.json
    finish/n verifies all blocks, joins what has to be joined, and writes complete.json, which downstream rules wait for
    all      the three in one process

Whatever is killed at any moment, the same command goes on: blocks that a journal holds (`records`) are not computed again,
whichever job they belonged to. The number of jobs can change between two calls.
"""

from __future__ import annotations

import json
import shutil
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

from pipeline_lib.artefacts.atomic import remove_leftovers, write_json
from pipeline_lib.artefacts.budget import Budget, Crew
from pipeline_lib.artefacts.complete import PLAN_KEYS, changing, forget_jobs, plan_digest, read_if_there
from pipeline_lib.artefacts.lock import Lock
from pipeline_lib.artefacts.records import BlockRecord, Journal, Records, are_intact, as_json, content_of, facts_of
from pipeline_lib.artefacts.workers import BlockDone
from pipeline_lib.errors import UserError

SCHEMA = 2
# A stage of a killed workflow saves its state and ends; its successor waits for that.
ORPHAN_PATIENCE_S = 60.0


@dataclass(frozen=True)
class Finished:
    """What finishing has written for others to read, and plain JSON values for complete.json."""

    files: Sequence[Path] = ()
    facts: Mapping[str, Any] = field(default_factory=dict)


class BlockTask(Protocol):
    """What a stage does for one volume.

    name: for messages, such as "predict val". inputs: all that decides the content of the blocks, as digests by the name that a
    user knows each by; they are computed each time they are asked for, and raise a UserError for what has changed.

    layout: plain JSON values that decide how the work is cut, such as the size of blocks; another layout starts an unfinished
    artefact anew and leaves a finished one alone. created: files that `create` makes; without one of them the artefact starts
    anew. last_file: what `finish` writes last.
    """

    @property
    def name(self) -> str: ...

    @property
    def folder(self) -> Path: ...

    @property
    def inputs(self) -> Mapping[str, str]: ...

    @property
    def layout(self) -> Mapping[str, Any]: ...

    @property
    def n_blocks(self) -> int: ...

    @property
    def created(self) -> Sequence[Path]: ...

    @property
    def last_file(self) -> Path: ...

    def prepare(self, run: Run) -> Crew:
        """Who computes the blocks; UserError where the memory is too small for what this run does.

        Comes once before `create` and `compute`, and not where nothing is left to do.
        """

    def create(self) -> None:
        """Make ready what the blocks are written into; what an earlier plan left may be there.

        UserError, before anything is written, for what can be told to be wrong from the inputs.
        """

    def compute(self, blocks: Sequence[int], crew: Crew) -> Iterator[BlockDone]:
        """Compute and write these blocks, in any order, each from scratch; shows its progress."""

    def finish(self, budget: Budget) -> Finished:
        """What needs all blocks; UserError where the memory is too small for it."""


@dataclass(frozen=True)
class Step:
    """One of the steps above: "plan", "finish" after n jobs, "all", or the "job" k of n, counted from 0."""

    kind: str
    job: int = 0
    n_jobs: int = 1

    @classmethod
    def parse(cls, text: str) -> Step:
        word, slash, n_jobs = text.partition("/")
        if slash and n_jobs.isdecimal() and word == "finish":
            return cls("finish", n_jobs=int(n_jobs))
        if slash and n_jobs.isdecimal() and word.isdecimal() and int(word) < int(n_jobs):
            return cls("job", int(word), int(n_jobs))
        if text in ("plan", "all"):
            return cls(text)
        raise UserError(f"a step is plan, k/n with 0 <= k < n for the k-th of n jobs, finish/n, or all; got {text!r}")


@dataclass(frozen=True)
class Run:
    """How a stage is run. max_blocks: compute at most so many blocks, for a quick look, and do not finish."""

    budget: Budget
    step: Step = Step("all")
    max_blocks: int | None = None


def run_task(task: BlockTask, run: Run) -> None:
    """Run one step of a task.

    UserError for a folder that another process works in, and for inputs that have changed since the plan was made. What is
    complete stays as it is, whatever the budget.
    """
    _Running(task, run).run()


def record_path(folder: Path, step: Step) -> Path:
    """Where the cost of a step is told: that of jobs that share the blocks each in a file of its own."""
    if step.kind in ("all", "finish"):
        return folder / "record.json"
    return folder / "records" / ("plan.json" if step.kind == "plan" else f"{step.job}-of-{step.n_jobs}.json")


def records_of(folder: Path) -> list[dict[str, Any]]:
    """What all the steps cost that made a complete artefact, the last one first; empty where that is not told."""
    n_jobs = (read_if_there(folder / "complete.json") or {}).get("n_jobs", 1)
    steps = [Step("finish"), Step("plan"), *(Step("job", k, n_jobs) for k in range(n_jobs))] if n_jobs > 1 else [Step("all")]
    found = (read_if_there(record_path(folder, step)) for step in steps)
    return [record for record in found if record is not None]


def shares(n_blocks: int, n_jobs: int) -> list[range]:
    """The blocks of each job: contiguous, of nearly equal size, empty where there are more jobs than blocks."""
    return [range(k * n_blocks // n_jobs, (k + 1) * n_blocks // n_jobs) for k in range(n_jobs)]


class _Running:
    """One step of one task. The plan is what plan.json holds: what is computed from what, as far as it can be told now."""

    def __init__(self, task: BlockTask, run: Run) -> None:
        self.task = task
        self.step = run.step
        self.max_blocks = run.max_blocks
        self._run = run
        self._prepared: Crew | None = None
        self.plan = _plan_of(task)
        self.records = Records(task.folder, plan_digest(self.plan))

    def run(self) -> None:
        step = self.step
        if step.kind == "job":
            blocks, job = shares(self.task.n_blocks, step.n_jobs)[step.job], f"{step.job}-of-{step.n_jobs}"
            with Lock(self.task.folder, what=f"{self.task.name}, job {job}", patience_s=ORPHAN_PATIENCE_S, blocks=blocks):
                if self._keeps_complete():
                    self._tell(shares(self.plan["n_blocks"], step.n_jobs)[step.job], job)
                else:
                    self._check_planned()
                    self._share(blocks, job)
            return
        with Lock(self.task.folder, what=self.task.name, patience_s=ORPHAN_PATIENCE_S):
            remove_leftovers(self.task.folder)
            is_complete = self._keeps_complete()
            if step.kind == "plan":
                if not is_complete:
                    self._make_plan()
                write_json(self.records.shards / "planned.json", {"schema": SCHEMA, "digest": self.records.digest})
            elif is_complete:
                return
            elif step.kind == "finish":
                self._check_planned()
                self._finish()
            else:
                self._make_plan()
                if self._compute_missing(range(self.task.n_blocks), "0-of-1"):
                    self._finish()

    def _keeps_complete(self) -> bool:
        """Whether the artefact is complete; what it was planned as, in whatever layout, is then the plan of this step, too."""
        complete = read_if_there(self.task.folder / "complete.json") or {}
        is_same = complete.get("schema") == SCHEMA and complete.get("inputs") == self.plan["inputs"]
        is_there = is_same and all(path.exists() for path in (self.task.last_file, *self.task.created))
        if not (is_there and are_intact(self.task.folder, complete.get("files", {}), trust_time=True)):
            return False
        self.plan = {key: complete[key] for key in PLAN_KEYS}
        self.records = Records(self.task.folder, plan_digest(self.plan))
        self._say("is complete; nothing to do")
        return True

    def _make_plan(self) -> None:
        present = read_if_there(self.task.folder / "plan.json")
        is_made = all(path.exists() for path in self.task.created)
        if present == self.plan and is_made:
            return
        if present is not None:
            self._say(f"starts anew: {_difference(present, self.plan) if is_made else 'files were removed'}")
        self._crew()
        self._forget()
        self.task.create()
        write_json(self.task.folder / "plan.json", self.plan)

    def _crew(self) -> Crew:
        """Judges the memory, once, before anything is changed."""
        if self._prepared is None:
            self._prepared = self.task.prepare(self._run)
        return self._prepared

    def _check_planned(self) -> None:
        present = read_if_there(self.task.folder / "plan.json")
        if present == self.plan:
            return
        with changing(self.task.folder):  # else the workflow would take the plan and its jobs for done
            (self.records.shards / "planned.json").unlink(missing_ok=True)
            forget_jobs(self.records, set(range(self.task.n_blocks)))
        if present is None:
            raise UserError(f"{self.task.name}: {self.task.folder} holds no plan; run the step plan first")
        raise UserError(f"{self.task.name}: {_difference(present, self.plan)} since it was planned; run the workflow again")

    def _check_unchanged(self) -> None:
        """After the work: an input that was changed meanwhile would go unnoticed."""
        now = _plan_of(self.task)
        if now != self.plan:
            raise UserError(f"{self.task.name}: {_difference(self.plan, now)} while it was read; run the workflow again")

    def _forget(self) -> None:
        """Remove what an earlier plan left; the plan goes first: a kill on the way leaves no plan without its records."""
        folder = self.task.folder
        with changing(folder):
            for path in (self.task.last_file, folder / "complete.json", folder / "plan.json"):
                path.unlink(missing_ok=True)
            if self.records.shards.exists():
                shutil.rmtree(self.records.shards)

    def _share(self, blocks: range, job: str) -> None:
        if self._compute_missing(blocks, job):
            self._tell(blocks, job)

    def _tell(self, blocks: range, job: str) -> None:
        """Write what says that a job is done; a block whose record was lost is named all the same, so that it can be missed."""
        found = self.records.read()
        told = [as_json(found[block]) if block in found else {"block": block} for block in blocks]
        write_json(self.records.shards / f"{job}.json", {"schema": SCHEMA, "digest": self.records.digest, "blocks": told})

    def _compute_missing(self, blocks: range, job: str) -> bool:
        """Returns whether all of `blocks` are done."""
        found = self.records.read()
        missing = [b for b in blocks if b not in found or not found[b].is_intact(self.task.folder, trust_time=False)]
        chosen = missing if self.max_blocks is None else missing[: self.max_blocks]
        if len(missing) < len(blocks):
            self._say(f"goes on: {len(blocks) - len(missing)} of {len(blocks)} blocks are done")
        if chosen:
            crew = self._crew()
            with self.records.journal(job) as journal:
                try:
                    for done in self.task.compute(chosen, crew):
                        journal.append(BlockRecord.of(done, self.task.folder))
                finally:
                    self._check_what_was_read(journal)
        n_left = len(missing) - len(chosen)
        if n_left:
            self._say(f"{n_left} of {len(blocks)} blocks are left; run without --max-blocks to go on")
        return not n_left

    def _check_what_was_read(self, journal: Journal) -> None:
        """Forget what this call has computed if an input was changed meanwhile, also where that is why it failed."""
        if isinstance(sys.exception(), Exception | None):  # a signal ends it at once
            try:
                self._check_unchanged()
            except UserError:
                journal.take_back()
                raise

    def _finish(self) -> None:
        found = self.records.read()
        missing = [b for b in range(self.task.n_blocks) if b not in found]
        damaged = [b for b, record in found.items() if not record.is_intact(self.task.folder, trust_time=True)]
        if missing or damaged:
            forget_jobs(self.records, {*missing, *damaged})
            lists = [(missing, "missing"), (damaged, "damaged")]
            told = [f"{len(b)} of {self.task.n_blocks} blocks are {how}, the first is {min(b)}" for b, how in lists if b]
            raise UserError(f"{self.task.name}: {' and '.join(told)}; run the workflow again, which computes them")
        finished = self._finished()
        cost = {
            "blocks_wall_s": round(sum(record.wall_s for record in found.values()), 3),
            "blocks_peak_memory_mb": max((record.peak_memory_mb for record in found.values()), default=0.0),
        }
        complete = {**self.plan, "content": content_of(found.values()), "n_jobs": self.step.n_jobs, **cost, **finished.facts}
        complete["files"] = facts_of(self.task.folder, finished.files)
        write_json(self.task.folder / "complete.json", complete)

    def _finished(self) -> Finished:
        try:
            finished = self.task.finish(self._run.budget)
            self._check_unchanged()
        except Exception:
            with changing(self.task.folder):
                self.task.last_file.unlink(missing_ok=True)
            raise
        return finished

    def _say(self, what: str) -> None:
        print(f"{self.task.name}: {what}", file=sys.stderr, flush=True)


def _plan_of(task: BlockTask) -> dict[str, Any]:
    plan = dict(zip(PLAN_KEYS, (SCHEMA, dict(task.inputs), dict(task.layout), task.n_blocks), strict=True))
    content: dict[str, Any] = json.loads(json.dumps(plan))  # as it is read back: tuples become lists
    return content


def _difference(before: Mapping[str, Any], now: Mapping[str, Any]) -> str:
    """In words, what is no longer as it was."""
    for part in ("inputs", "layout"):
        old, new = before.get(part, {}), now[part]
        changed = [key for key in new if old.get(key) != new[key]] + [key for key in old if key not in new]
        if changed:
            return f"{' and '.join(changed)} {'has' if len(changed) == 1 else 'have'} changed"
    return "the number of blocks has changed"
