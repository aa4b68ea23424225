"""Blocks in worker processes that die with their stage."""

from __future__ import annotations

import multiprocessing
import os
import signal
import sys
import time
import traceback
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from contextlib import ExitStack, closing, contextmanager, suppress
from dataclasses import dataclass
from multiprocessing.connection import Connection, wait
from multiprocessing.process import BaseProcess
from pathlib import Path

from tqdm import tqdm

from pipeline_lib.artefacts.budget import Crew
from pipeline_lib.artefacts.measure import forget_peak_memory, peak_memory_mb
from pipeline_lib.artefacts.processes import children_ignore_stop_signals, die_with_parent
from pipeline_lib.errors import UserError

Work = Callable[[int], Sequence[Path]]  # computes one block and returns the files that hold it, in place of a file "none"
_THREAD_VARIABLES = (
    "OMP_NUM_THREADS",
    "OPENBLAS_NUM_THREADS",
    "MKL_NUM_THREADS",
    "NUMBA_NUM_THREADS",
    "RAYON_NUM_THREADS",
)


@dataclass(frozen=True)
class BlockDone:
    """A block whose files are written, and what it cost."""

    block: int
    files: tuple[Path, ...]
    wall_s: float
    peak_memory_mb: float


def set_threads(threads: int) -> None:
    """Limit the threads of numeric libraries; call before they are imported."""
    for variable in _THREAD_VARIABLES:
        os.environ[variable] = str(threads)


def compute_blocks(work: Work, blocks: Sequence[int], crew: Crew, *, name: str) -> Iterator[BlockDone]:
    """The blocks as they become ready, in any order, with their progress on standard error under `name`.

    With one worker in this process; with more in processes of their own, to which `work` is pickled. A UserError of a worker is
    raised here; one that dies is a UserError that names the signal and the block. However this ends, the workers end first.
    """
    done = _in_workers(work, blocks, crew) if crew.workers > 1 and len(blocks) > 1 else (_compute(work, b) for b in blocks)
    interval_s = 0.5 if sys.stderr.isatty() else 10.0
    with closing(done):
        yield from tqdm(done, total=len(blocks), desc=name, unit="block", mininterval=interval_s, file=sys.stderr)


def _in_workers(work: Work, blocks: Sequence[int], crew: Crew) -> Generator[BlockDone]:
    with ExitStack() as stack:
        team = stack.enter_context(_started(work, min(crew.workers, len(blocks)), crew.threads))
        waiting = iter(blocks)
        held = dict(zip(team, waiting, strict=False))
        for pipe, block in held.items():
            _send(pipe, block)
        while held:
            for pipe in _ready(held):
                block = held.pop(pipe)
                yield _received(pipe, team[pipe], block)
                following = next(waiting, None)
                if following is not None:
                    held[pipe] = following
                    _send(pipe, following)


def _send(pipe: Connection, message: object) -> None:
    """To a worker that may have died: that shows when its answer is read."""
    with suppress(OSError):
        pipe.send(message)


def _ready(held: Iterable[Connection]) -> list[Connection]:
    """A pipe is ready, too, when its worker has died."""
    return [found for found in wait(list(held)) if isinstance(found, Connection)]


def _received(pipe: Connection, process: BaseProcess, block: int) -> BlockDone:
    try:
        answer = pipe.recv()
    except (EOFError, OSError):
        process.join()
        code = process.exitcode or 0
        how = f"signal {signal.Signals(-code).name}" if code < 0 else f"exit code {code}"
        memory = " (was it out of memory?)" if code == -signal.SIGKILL else ""
        raise UserError(f"a worker process ended with {how} in block {block}{memory}; run again to go on") from None
    if isinstance(answer, BaseException):
        raise answer
    done: BlockDone = answer
    return done


@contextmanager
def _started(work: Work, n: int, threads: int) -> Iterator[dict[Connection, BaseProcess]]:
    """Processes that wait for blocks, by the pipe to each."""
    # Spawned, not forked: threads of codecs and compiled code do not survive a fork.
    context = multiprocessing.get_context("spawn")
    team: dict[Connection, BaseProcess] = {}
    try:
        with _threads(threads), children_ignore_stop_signals():
            for _ in range(n):
                ours, theirs = context.Pipe()
                process = context.Process(target=_serve, args=(theirs, os.getpid()), daemon=True)
                process.start()
                theirs.close()
                team[ours] = process
        for pipe in team:
            _send(pipe, work)
        yield team
    finally:
        for member in team.values():
            member.kill()
        for pipe, member in team.items():
            member.join()
            pipe.close()


@contextmanager
def _threads(threads: int) -> Iterator[None]:
    """For processes that are started in this block."""
    before = {variable: os.environ.get(variable) for variable in _THREAD_VARIABLES}
    set_threads(threads)
    try:
        yield
    finally:
        for variable, value in before.items():
            if value is None:
                del os.environ[variable]
            else:
                os.environ[variable] = value


def _serve(pipe: Connection, parent: int) -> None:
    """Receives what to do, then one block after the other. The stage's own process answers signals, and kills this one."""
    die_with_parent(signal.SIGKILL, parent)
    with suppress(EOFError, OSError):
        work = pipe.recv()
        while True:
            block = pipe.recv()
            try:
                pipe.send(_compute(work, block))
            except UserError as error:
                pipe.send(error)
            except Exception:
                pipe.send(RuntimeError(f"in a worker process:\n{traceback.format_exc()}"))


def _compute(work: Work, block: int) -> BlockDone:
    forget_peak_memory()
    start = time.perf_counter()
    files = tuple(work(block))
    return BlockDone(block, files, round(time.perf_counter() - start, 3), round(peak_memory_mb(), 1))
