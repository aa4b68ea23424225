"""The login node's side of a submitted training: a query now and then, the log passed on, another job where one died."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import psutil

from pipeline_lib.cluster import slurm
from pipeline_lib.cluster.attempts import COMPLETED, MISTAKE, last_of, read_attempts
from pipeline_lib.cluster.attend import says_out_of_memory
from pipeline_lib.cluster.job_states import MAY_COME_BACK, JobState, state_of
from pipeline_lib.cluster.submission import Submission
from pipeline_lib.cluster.submitted import log_of
from pipeline_lib.errors import UserError
from pipeline_lib.training.interruption import TIME_LIMIT

LATENCY_S = 60.0  # until a file that another node has written is seen
_LAST_LINES, _LAST_BYTES = 20, 20_000
_DYING_S = 1.0
_GIVEN_BACK = frozenset({"PREEMPTED", "REVOKED"})  # the job is not to blame


@dataclass
class _Log:
    """The log of a job, passed on as it grows."""

    path: Path
    position: int = 0

    def pass_on(self) -> None:
        with suppress(OSError), self.path.open("rb") as file:
            file.seek(self.position)
            new = file.read()
            self.position += len(new)
            sys.stderr.write(new.decode(errors="replace"))
            sys.stderr.flush()

    def end(self) -> str:
        with suppress(OSError), self.path.open("rb") as file:
            file.seek(max(0, file.seek(0, os.SEEK_END) - _LAST_BYTES))
            return "\n".join(file.read().decode(errors="replace").splitlines()[-_LAST_LINES:])
        return ""


@dataclass
class _Follower:
    """One training through all its jobs. retries: how many in a row may die without having saved anything new."""

    submission: Submission
    checkpoint: Path
    poll_s: float
    retries: int
    _failures: int = 0
    _memory_factor: int = 1
    _saved: int | None = field(default=None)

    def run(self) -> None:
        job = self.submission.running(say)
        if job is not None:
            say(f"job {job}, which was submitted before, goes on")
        is_new = job is None
        while True:
            job = job or self._submit()
            log = _Log(log_of(self.submission.folder, job))
            if not is_new:
                with suppress(OSError):
                    log.position = log.path.stat().st_size
            state = self._ended(job, log)
            if self._is_done(job, state, log):
                return
            job, is_new = None, True
            time.sleep(self.poll_s)

    def _submit(self) -> str:
        job = self.submission.submit(memory_factor=self._memory_factor)
        say(f"submitted as job {job}, whose log is {log_of(self.submission.folder, job)}")
        return job

    def _ended(self, job: str, log: _Log) -> JobState:
        """The state of a job that will not go on, however often it is requeued."""
        seen: str | None = None
        while True:
            state = state_of(job)
            log.pass_on()
            told = "not known now, as Slurm does not answer" if state is None else str(state)
            is_sure = state is not None and (state.name not in MAY_COME_BACK or told == seen)
            if told != seen:
                say(f"job {job} is {told}")
            seen = told
            if state is not None and state.is_held:
                slurm.cancel([job])
            elif state is not None and state.is_ended and is_sure:
                return state
            time.sleep(self.poll_s)

    def _is_done(self, job: str, state: JobState, log: _Log) -> bool:
        """Whether training is complete; otherwise another job shall go on. Raises UserError where none would help."""
        if state.name == "COMPLETED":
            self._await(lambda: (last := last_of(self.submission.folder, job)) is not None and bool(last.ended))
        attempt = last_of(self.submission.folder, job)
        ended = attempt.ended if attempt is not None else ""
        if ended == COMPLETED and self._await(self.checkpoint.exists):
            return True
        if attempt is not None and ended == MISTAKE:
            raise UserError(attempt.message)
        has_saved = self._has_saved()
        if (ended == TIME_LIMIT and has_saved) or state.name in _GIVEN_BACK:
            return False
        self._failures = 1 if has_saved else self._failures + 1
        if self._failures > self.retries:
            print(log.end(), file=sys.stderr, flush=True)
            raise UserError(
                f"job {job} ended as {state}, as {self._failures} in a row that had saved nothing new; the end of its log is "
                f"above, all of it in {log.path}"
            )
        how = "from what was saved"
        if state.name == "OUT_OF_MEMORY" or says_out_of_memory(log.path):
            self._memory_factor *= 2
            how += f", with {self._memory_factor} times the memory"
        say(f"job {job} ended as {state}; another one goes on {how} ({self._failures} of {self.retries} retries)")
        return False

    def _has_saved(self) -> bool:
        """Whether there is a new state since the last call."""
        before = self._saved
        with suppress(OSError):
            self._saved = self.checkpoint.with_name("resume.ckpt").stat().st_mtime_ns
        return self._saved != before

    def _await(self, holds: Any) -> bool:
        end = time.monotonic() + LATENCY_S
        while not holds():
            if time.monotonic() > end:
                return False
            time.sleep(min(1.0, self.poll_s))
        return True


def train_by_jobs(submission: Submission, checkpoint: Path, *, poll_s: float, retries: int) -> list[dict[str, Any]]:
    """Train in Slurm jobs until `checkpoint` is written; what each start of them cost.

    A job that a process before this one has submitted is followed on. SIGINT and SIGTERM cancel the job; its state is saved.
    """
    with _cancelling(submission):
        _Follower(submission, checkpoint, poll_s, retries).run()
    digest = submission.training.digest
    return [asdict(attempt) for attempt in read_attempts(submission.folder) if attempt.digest == digest]


@contextmanager
def _cancelling(submission: Submission) -> Iterator[None]:
    parent = os.getppid()
    try:
        yield
    except Exception:
        raise  # the job has ended, or the next call finds it
    except BaseException:
        if _workflow_is_gone(parent):
            say("the workflow was killed; its training goes on, and the next call finds it")
        else:
            _cancel(submission)
        raise


def _cancel(submission: Submission) -> None:
    try:
        jobs = slurm.jobs_named(submission.name)
        slurm.cancel(jobs)
    except UserError as error:
        say(f"its job could not be cancelled: {error}")
    else:
        say(f"cancelled job {' '.join(jobs)}; the next call goes on from what was saved" if jobs else "no job was submitted")


def _workflow_is_gone(parent: int) -> bool:
    """Whether a signal came because the workflow, which had started this process, has died: its parent is another one then.

    The signal comes with the death of a thread of the workflow, a moment before that of the others.
    """
    workflow = os.environ.get("PIPELINE_WORKFLOW")
    if workflow is None:
        return False
    end = time.monotonic() + _DYING_S
    while os.getppid() == parent and psutil.pid_exists(int(workflow)):
        if time.monotonic() > end:
            return False
        time.sleep(0.05)
    return True


def say(message: str) -> None:
    print(f"train: {message}", file=sys.stderr, flush=True)
