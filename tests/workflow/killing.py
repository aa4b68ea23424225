"""Kills a workflow at random moments in each of its stages, and starts it again with the plain command.

Targets: the process of the workflow alone, so that its stage is left without one; a stage; one of the workers of a stage; or
all at once. A moment is drawn between the start of a stage and the end that it had in the undisturbed run.
"""

import random
import signal
import subprocess
import time
from contextlib import contextmanager, suppress
from dataclasses import dataclass

import psutil
from processes import kill, none_left_in, processes_in, stage_of

# In the order in which the first process of each appears.
STAGES = (
    "import",
    "train",
    "choose-checkpoint",
    "predict",
    "sweep",
    "choose-threshold",
    "label",
    "segment",
    "evaluate",
    "report",
)
TARGETS = ("workflow", "stage", "worker", "all")
PATIENCE_S = 300


@dataclass(frozen=True)
class Kill:
    stage: str
    target: str
    after_s: float

    def __str__(self):
        return f"{self.target} {self.after_s:.2f} s after the start of {self.stage}"


def passes(durations_s, each, seed):
    """Without end, what to do while a workflow goes from its start to its end: `each` kills in each stage, in their order."""
    draw = random.Random(seed)
    while True:
        targets = [TARGETS[k % len(TARGETS)] for k in range(each * len(STAGES))]
        draw.shuffle(targets)
        yield [Kill(stage, targets.pop(), draw.uniform(0, durations_s[stage])) for stage in STAGES for _ in range(each)]


def watched(workflow):
    """Run to the end; how long the processes of each stage lived, at most."""
    lived = {}
    with _started(workflow) as process:
        while process.poll() is None:
            for found in processes_in(workflow.folder):
                stage = stage_of(found)
                if stage in STAGES:
                    with suppress(psutil.Error):
                        lived[stage] = max(lived.get(stage, 0.0), time.time() - found.create_time())
            time.sleep(0.02)
    assert process.returncode == 0
    return lived


def killed(workflow, planned):
    """Run until `planned` is carried out, and until that has ended the workflow; the kill as it was done.

    None if the workflow ended before. A stage that is done already has the kill in the next one.
    """
    with _started(workflow) as process:
        stage, name, after_s = _awaited(workflow, planned, process)
        target, victims = _victims(workflow, planned.target, stage, process)
        if process.poll() is not None:
            return None
        kill(victims)
        done = Kill(name, target, after_s)
        if target == "workflow":
            return done  # the next run meets what this one left
        process.wait(PATIENCE_S)
        assert none_left_in(workflow.folder, PATIENCE_S) == []
        return done if process.returncode != 0 else None  # a worker had no more to do


def _awaited(workflow, planned, process):
    """Waits for the moment, or the end of the stage: its process, its name, and for how long it was watched."""
    due = STAGES[STAGES.index(planned.stage) :]
    end = time.monotonic() + PATIENCE_S
    while process.poll() is None:
        assert time.monotonic() < end, f"{planned.stage} did not start"
        for found in processes_in(workflow.folder):
            stage = stage_of(found)
            if stage in due and not _is_orphan(found, process):
                start = time.monotonic()
                with suppress(psutil.TimeoutExpired):
                    found.wait(planned.after_s)
                return found, stage, time.monotonic() - start
        time.sleep(0.005)
    return None, None, 0.0


def _is_orphan(stage, process):
    with suppress(psutil.Error):
        return stage.ppid() != process.pid
    return True


def _victims(workflow, target, stage, process):
    """What is killed in truth, and its processes: for want of a worker the stage, and where that has ended the workflow."""
    if target == "all":
        return "all", processes_in(workflow.folder)
    if target == "worker" and stage is not None:
        with suppress(psutil.Error):
            workers = [p for p in stage.children() if "spawn_main" in " ".join(p.cmdline())]
            if workers:
                return "worker", workers[:1]
    if target != "workflow" and stage is not None and stage.is_running():
        return "stage", [stage]
    return "workflow", [psutil.Process(process.pid)] if process.poll() is None else []


@contextmanager
def _started(workflow):
    process = subprocess.Popen(
        workflow.command(),
        cwd=workflow.folder,
        stdin=subprocess.DEVNULL,
        stdout=(workflow.folder / "output.txt").open("w"),
        stderr=subprocess.STDOUT,
        start_new_session=True,
    )
    try:
        yield process
    finally:
        with suppress(ProcessLookupError):
            process.send_signal(signal.SIGKILL)
        process.wait()
