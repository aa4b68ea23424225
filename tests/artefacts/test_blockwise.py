"""Plan, jobs and finish: what is kept, what is done again, and what is refused."""

import json
import math
import os
import random
import re
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from squares import Squares

from pipeline_lib.artefacts import Budget, Crew, Demand, Lock, Run, Step, crew_for, read_json, run_task, write_json
from pipeline_lib.artefacts.blockwise import shares
from pipeline_lib.artefacts.budget import PROCESS_MB, installed_memory_mb, largest_fitting
from pipeline_lib.artefacts.complete import content_of_complete, job_records
from pipeline_lib.artefacts.records import Records, checksum
from pipeline_lib.errors import UserError

BUDGET = Budget(memory_mb=1000)
SUM = 0 + 1 + 4 + 16 + 25 + 36


def step(task, text, **how):
    run_task(task, Run(BUDGET, Step.parse(text), **how))


def in_jobs(folder, n, order=None, **options):
    """All steps as a workflow calls them, each by a task of its own; returns the tasks of the jobs."""
    step(Squares(folder, **options), "plan")
    tasks = []
    for k in order or range(n):
        tasks.append(Squares(folder, **options))
        step(tasks[-1], f"{k}/{n}")
    step(Squares(folder, **options), f"finish/{n}")
    return tasks


def test_all_in_one_process(tmp_path):
    task = Squares(tmp_path)
    step(task, "all")
    assert task.computed == list(range(7))
    complete = task.complete()
    assert complete["sum"] == SUM
    assert (complete["inputs"], complete["n_blocks"], complete["n_jobs"]) == (task.inputs, 7, 1)
    lines = [json.loads(line) for line in (tmp_path / "shards" / "0-of-1.journal").read_text().splitlines()]
    assert [line["block"] for line in lines] == list(range(7))
    size, changed_ns, checksum = lines[2]["files"]["squares/2.txt"]
    found = task.path(2).stat()
    assert (size, changed_ns, len(checksum)) == (found.st_size, found.st_mtime_ns, 16)
    assert lines[3]["files"] == {"squares/3.txt": None}
    assert all(line["wall_s"] >= 0 and line["peak_memory_mb"] > 5 for line in lines)


@pytest.mark.parametrize("n", [1, 2, 3, 7, 11])
def test_any_number_of_jobs_in_any_order_gives_the_same(tmp_path, n):
    step(Squares(tmp_path / "one"), "all")
    order = random.Random(n).sample(range(n), n)
    tasks = in_jobs(tmp_path / "jobs", n, order)
    assert sorted(block for task in tasks for block in task.computed) == list(range(7))
    one, jobs = read_json(tmp_path / "one" / "complete.json"), read_json(tmp_path / "jobs" / "complete.json")
    assert one["content"] == jobs["content"]
    assert jobs["n_jobs"] == n
    for k, blocks in enumerate(shares(7, n)):
        record = read_json(tmp_path / "jobs" / "shards" / f"{k}-of-{n}.json")
        assert [told["block"] for told in record["blocks"]] == list(blocks)
        assert all({"files", "wall_s", "peak_memory_mb"} <= told.keys() for told in record["blocks"])


def test_shares_are_contiguous_and_of_nearly_equal_size():
    for n_blocks, n_jobs in [(0, 3), (1, 4), (10, 3), (500, 500), (12345, 500)]:
        parts = shares(n_blocks, n_jobs)
        assert [block for part in parts for block in part] == list(range(n_blocks))
        assert max(map(len, parts)) - min(map(len, parts)) <= 1


def test_another_number_of_jobs_repeats_nothing(tmp_path):
    step(Squares(tmp_path), "plan")
    for k in (0, 2):
        step(Squares(tmp_path), f"{k}/3")
    done = [*shares(7, 3)[0], *shares(7, 3)[2]]
    tasks = [Squares(tmp_path) for _ in range(5)]
    for k, task in enumerate(tasks):
        step(task, f"{k}/5")
    assert sorted(block for task in tasks for block in task.computed) == sorted(set(range(7)) - set(done))
    step(Squares(tmp_path), "finish/5")
    assert read_json(tmp_path / "complete.json")["sum"] == SUM


@pytest.mark.parametrize("text", ["all", "plan", "0/2", "1/3", "4/5", "finish/2", "finish/3"])
def test_a_complete_artefact_is_left_alone_by_any_step(tmp_path, text, capsys):
    def others():
        """All files but what the workflow waits for."""
        files = set(tmp_path.rglob("*.*")) - {tmp_path / ".lock", *(tmp_path / "shards").glob("*.json")}
        return {path: path.stat().st_mtime_ns for path in files}

    in_jobs(tmp_path, 3)
    before, told = others(), {path: path.read_text() for path in (tmp_path / "shards").glob("*.json")}
    task = Squares(tmp_path, n_blocks=9)
    task.layout = {"block": [9, 9]}  # how, not what
    step(task, text)
    assert task.computed == []
    assert others() == before
    assert {path: path.read_text() for path in told} == told
    assert "squares: is complete; nothing to do" in capsys.readouterr().err


def test_what_the_workflow_waits_for_of_a_complete_artefact_is_written_again(tmp_path):
    """In the layout in which it was made, so that a block that changes later is missed in its job."""
    in_jobs(tmp_path, 3)
    told = {path: path.read_text() for path in (tmp_path / "shards").glob("*.json")}
    assert len(told) == 4
    for path in told:
        path.unlink()
    for text in ("plan", "0/3", "1/3", "2/3"):
        task = Squares(tmp_path, n_blocks=9)
        task.layout = {"block": [9, 9]}
        step(task, text)
    assert {path: path.read_text() for path in told} == told


def test_a_block_whose_record_was_lost_is_missed_in_its_job(tmp_path):
    in_jobs(tmp_path, 3)
    (tmp_path / "shards" / "2-of-3.journal").unlink()
    step(Squares(tmp_path), "2/3")
    with pytest.raises(UserError, match="3 of 7 blocks have changed since they were computed, the first is 4"):
        content_of_complete(tmp_path)
    assert [Path(path).exists() for path in job_records(tmp_path, 3)] == [True, True, False]
    assert sum(len(task.computed) for task in in_jobs(tmp_path, 3)) == 3


class Refused(Squares):
    def prepare(self, run):
        raise UserError(f"step {run.step.kind} does not fit into {run.budget.memory_mb} MB")


def test_a_complete_artefact_needs_no_memory(tmp_path):
    in_jobs(tmp_path, 3)
    for text in ("all", "plan", "0/3", "2/3", "finish/3", "finish/2"):
        step(Refused(tmp_path), text)


@pytest.mark.parametrize("text", ["plan", "all"])
def test_what_does_not_fit_is_refused_before_anything_is_written(tmp_path, text):
    with pytest.raises(UserError, match=f"step {text} does not fit into 1000 MB"):
        step(Refused(tmp_path), text)
    assert [path.name for path in tmp_path.iterdir()] == [".lock"]


@pytest.mark.parametrize("text", ["plan", "all"])
def test_what_does_not_fit_leaves_an_earlier_result_as_it_is(tmp_path, text):
    in_jobs(tmp_path, 3)
    before = {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}
    task = Refused(tmp_path)
    task.inputs = {**task.inputs, "the numbers": "halves"}
    with pytest.raises(UserError, match="does not fit"):
        step(task, text)
    del before[tmp_path / ".lock"]
    assert all(path.read_bytes() == content for path, content in before.items())


def test_blocks_that_are_left_are_refused_where_they_do_not_fit(tmp_path):
    step(Squares(tmp_path), "plan")
    step(Squares(tmp_path), "0/3")
    for text in ("all", "1/3"):
        with pytest.raises(UserError, match="does not fit"):
            step(Refused(tmp_path), text)
    step(Refused(tmp_path), "0/3")
    assert [path.name for path in sorted((tmp_path / "shards").glob("*.journal"))] == ["0-of-3.journal"]
    in_jobs(tmp_path, 3)


def test_a_step_prepares_once(tmp_path):
    tasks = [Squares(tmp_path) for _ in range(4)]
    for task, text in zip(tasks, ("plan", "0/2", "1/2", "finish/2"), strict=True):
        step(task, text)
    assert [task.prepared for task in tasks] == [1, 1, 1, 0]
    one = Squares(tmp_path / "one")
    step(one, "all")
    assert one.prepared == 1


def test_records_of_the_jobs_that_made_it_are_asked_for(tmp_path):
    assert job_records(tmp_path / "new", 1) == []
    assert job_records(tmp_path / "new", 2) == [f"{tmp_path}/new/shards/0-of-2.json", f"{tmp_path}/new/shards/1-of-2.json"]
    in_jobs(tmp_path / "three", 3)
    assert len(job_records(tmp_path / "three", 5)) == len(job_records(tmp_path / "three", 1)) == 3
    step(Squares(tmp_path / "one"), "all")
    assert job_records(tmp_path / "one", 5) == []


def test_an_input_that_changed_starts_anew_and_is_named(tmp_path, capsys):
    step(Squares(tmp_path), "all")
    task = Squares(tmp_path)
    task.inputs = {**task.inputs, "the numbers": "halves"}
    step(task, "all")
    assert task.computed == list(range(7))
    assert "squares: starts anew: the numbers has changed" in capsys.readouterr().err


def test_another_layout_starts_an_unfinished_one_anew(tmp_path, capsys):
    step(Squares(tmp_path), "all", max_blocks=2)
    task = Squares(tmp_path)
    task.layout = {"block": [2, 2]}
    step(task, "all")
    assert task.computed == list(range(7))
    assert "starts anew: block has changed" in capsys.readouterr().err


@pytest.mark.parametrize("text", ["1/3", "finish/3"])
def test_a_job_whose_inputs_differ_from_the_plan_names_them(tmp_path, text):
    in_jobs(tmp_path, 3)
    (tmp_path / "complete.json").unlink()
    task = Squares(tmp_path)
    task.inputs = {**task.inputs, "the numbers": "halves"}
    with pytest.raises(UserError, match="squares: the numbers has changed since it was planned; run the workflow again"):
        step(task, text)
    left = {path.suffix for path in (tmp_path / "shards").iterdir()}
    assert left == {".journal"}, "the workflow would take the plan and its jobs for done"


def test_an_input_that_changes_while_it_is_read_is_named(tmp_path):
    class Changing(Squares):
        def finish(self, budget):
            self.inputs = {**self.inputs, "the numbers": "halves"}
            return super().finish(budget)

    with pytest.raises(UserError, match="squares: the numbers has changed while it was read; run the workflow again"):
        step(Changing(tmp_path), "all")
    assert not (tmp_path / "complete.json").exists()


@pytest.mark.parametrize("text", ["0/1", "finish/1"])
def test_without_a_plan_there_is_no_job(tmp_path, text):
    with pytest.raises(UserError, match="holds no plan; run the step plan first"):
        step(Squares(tmp_path), text)


@pytest.mark.parametrize("text", ["", "x", "3/3", "-1/3", "1/x", "finish", "finish/x", "planned"])
def test_steps_that_there_are_not(text):
    with pytest.raises(UserError, match="a step is plan, k/n with 0 <= k < n for the k-th of n jobs, finish/n, or all; got"):
        Step.parse(text)


def test_a_quick_look_computes_so_many_blocks_and_no_more(tmp_path, capsys):
    task = Squares(tmp_path)
    step(task, "all", max_blocks=2)
    assert task.computed == [0, 1]
    assert not task.last_file.exists()
    assert "squares: 5 of 7 blocks are left; run without --max-blocks to go on" in capsys.readouterr().err
    step(task, "all", max_blocks=2)
    step(task, "all")
    assert task.computed == list(range(7))
    assert task.complete()["sum"] == SUM


DAMAGES = {
    "cut off": lambda task: os.truncate(task.path(5), 1),
    "another content of the same size": lambda task: task.path(5).write_text("52"),
    "removed": lambda task: task.path(5).unlink(),
}


@pytest.mark.parametrize("damage", DAMAGES.values(), ids=DAMAGES)
def test_a_damaged_block_is_found_and_done_again(tmp_path, damage):
    task = Squares(tmp_path)
    step(task, "all")
    content = task.complete()["content"]
    task.last_file.unlink()
    damage(task)
    task.computed.clear()
    step(task, "all")
    assert task.computed == [5]
    assert (task.complete()["sum"], task.complete()["content"]) == (SUM, content)


def test_a_file_where_none_should_be_is_found(tmp_path):
    task = Squares(tmp_path)
    step(task, "all")
    task.last_file.unlink()
    task.path(3).write_text("9")
    task.computed.clear()
    step(task, "all")
    assert task.computed == [3]
    assert not task.path(3).exists()


def test_a_file_that_was_only_touched_or_copied_is_kept(tmp_path):
    step(Squares(tmp_path / "a"), "all")
    (tmp_path / "a" / "complete.json").unlink()
    shutil.copytree(tmp_path / "a", tmp_path / "b", copy_function=shutil.copy)
    task = Squares(tmp_path / "b")
    os.utime(task.path(2), (1, 1))
    step(task, "all")
    assert task.computed == []


@pytest.mark.parametrize("damage", DAMAGES.values(), ids=DAMAGES)
def test_finishing_refuses_damaged_blocks_and_lets_their_jobs_run_again(tmp_path, damage):
    in_jobs(tmp_path, 3)
    (tmp_path / "complete.json").unlink()
    damage(Squares(tmp_path))
    with pytest.raises(UserError, match="squares: 1 of 7 blocks are damaged, the first is 5; run the workflow again"):
        step(Squares(tmp_path), "finish/3")
    assert [path.name for path in sorted((tmp_path / "shards").glob("*-of-3.json"))] == ["0-of-3.json", "1-of-3.json"]
    task = Squares(tmp_path)
    step(task, "2/3")
    assert task.computed == [5]
    step(task, "finish/3")
    assert task.complete()["sum"] == SUM


@pytest.mark.parametrize("damage", DAMAGES.values(), ids=DAMAGES)
def test_a_finished_block_that_changes_makes_its_artefact_unfinished(tmp_path, damage):
    in_jobs(tmp_path, 3)
    content = content_of_complete(tmp_path)
    os.utime(Squares(tmp_path).path(2), (1, 1))
    assert content_of_complete(tmp_path) == content
    damage(Squares(tmp_path))
    with pytest.raises(UserError, match=r": 1 of 7 blocks have changed since they were computed, the first is 5; run the wo"):
        content_of_complete(tmp_path)
    assert job_records(tmp_path, 3) == [f"{tmp_path}/shards/{k}-of-3.json" for k in range(3)]
    assert [Path(path).exists() for path in job_records(tmp_path, 3)] == [True, True, False]
    assert sum(len(task.computed) for task in in_jobs(tmp_path, 3)) == 1
    assert content_of_complete(tmp_path) == content


def test_a_file_of_finishing_that_changes_makes_its_artefact_unfinished(tmp_path):
    task = Squares(tmp_path)
    step(task, "all")
    (tmp_path / "sum.json").write_text("7")
    with pytest.raises(UserError, match="a file has changed since it was written; run the workflow again"):
        content_of_complete(tmp_path)
    with pytest.raises(UserError, match="holds no complete result"):
        content_of_complete(tmp_path)
    step(task, "all")
    assert read_json(tmp_path / "sum.json") == SUM
    (tmp_path / "sum.json").unlink()
    step(task, "all")
    assert read_json(tmp_path / "sum.json") == SUM
    assert len(task.computed) == 7


def test_blocks_that_were_read_from_a_changed_input_are_forgotten(tmp_path):
    """Also when the input is as before at the next run."""

    class Edited(Squares):
        def square(self, block):
            if block == 2:
                self.inputs = {**self.inputs, "the numbers": "broken"}
            return super().square(block)

    step(Squares(tmp_path), "all", max_blocks=2)
    with pytest.raises(UserError, match="squares: the numbers has changed while it was read"):
        step(Edited(tmp_path), "all")
    with pytest.raises(UserError, match="squares: the numbers has changed while it was read"):
        step(Edited(tmp_path, fails_in=4), "all")  # that it failed may follow from the change
    task = Squares(tmp_path)
    step(task, "all")
    assert task.computed == [2, 3, 4, 5, 6]


def test_of_several_records_of_a_block_that_of_its_file_counts(tmp_path):
    """Jobs of two divisions have computed a block, not equal to the bit, as networks do on two machines."""
    in_jobs(tmp_path, 4)
    (tmp_path / "complete.json").unlink()
    first = (tmp_path / "shards" / "0-of-4.journal").read_text()
    step(Squares(tmp_path), "0/2")
    Squares(tmp_path).path(0).write_text("0.0")
    record = json.loads(first.splitlines()[0])
    found = Squares(tmp_path).path(0).stat()
    record["files"] = {"squares/0.txt": [found.st_size, found.st_mtime_ns, checksum(Squares(tmp_path).path(0))]}
    (tmp_path / "shards" / "0-of-2.journal").write_text(json.dumps(record) + "\n")
    for name in ("0-of-2", "9-of-9"):
        (tmp_path / "shards" / "0-of-2.journal").rename(tmp_path / "shards" / f"{name}.journal")
        records = Records(tmp_path, record["digest"]).read()
        assert records[0].files == {"squares/0.txt": tuple(record["files"]["squares/0.txt"])}
        (tmp_path / "shards" / f"{name}.journal").rename(tmp_path / "shards" / "0-of-2.journal")


def test_what_is_finished_from_a_changed_input_does_not_stay(tmp_path):
    class Edited(Squares):
        def finish(self, budget):
            self.inputs = {**self.inputs, "the numbers": "broken"}
            write_json(self.folder / "last.json", {})
            return super().finish(budget)

    task = Edited(tmp_path)
    task.last_file = tmp_path / "last.json"
    with pytest.raises(UserError, match="squares: the numbers has changed while it was read"):
        step(task, "all")
    assert not task.last_file.exists()
    assert not (tmp_path / "complete.json").exists()


def test_what_killed_writers_left_is_removed(tmp_path):
    (tmp_path / "squares").mkdir()
    for name in (".plan.json.7.partial", "squares/zarr.json.0f3a.partial"):
        (tmp_path / name).write_text("half")
    step(Squares(tmp_path), "all")
    assert not list(tmp_path.rglob("*.partial"))


def test_finishing_counts_what_is_missing(tmp_path):
    step(Squares(tmp_path), "plan")
    step(Squares(tmp_path), "1/3")
    with pytest.raises(UserError, match="squares: 5 of 7 blocks are missing, the first is 0"):
        step(Squares(tmp_path), "finish/3")
    assert not (tmp_path / "complete.json").exists()


def test_torn_and_foreign_lines_of_a_journal_count_as_nothing(tmp_path):
    task = Squares(tmp_path)
    step(task, "all")
    task.last_file.unlink()
    journal = tmp_path / "shards" / "0-of-1.journal"
    lines = journal.read_text().splitlines(keepends=True)
    foreign = lines[1].replace(json.loads(lines[1])["digest"], "0" * 16)
    journal.write_text("".join([lines[0], foreign, *lines[2:4], "null\n", '{"digest": 3}\n', lines[5], lines[4][:-30]]))
    task.computed.clear()
    step(task, "all")
    assert task.computed == [1, 4, 6]
    task.last_file.unlink()
    task.computed.clear()
    step(task, "all")
    assert task.computed == []


def test_files_of_the_plan_that_were_removed_are_made_again(tmp_path, capsys):
    task = Squares(tmp_path)
    step(task, "all")
    shutil.rmtree(tmp_path / "squares")
    task.computed.clear()
    step(task, "all")
    assert task.computed == list(range(7))
    assert "starts anew: files were removed" in capsys.readouterr().err


@pytest.mark.parametrize("crew", [Crew(1, 1), Crew(3, 1)], ids=["here", "workers"])
class TestWorkers:
    def test_all_blocks_are_computed(self, tmp_path, crew):
        task = Squares(tmp_path, crew=crew)
        step(task, "all")
        assert task.complete()["sum"] == SUM

    def test_an_error_of_a_block_is_shown_and_the_others_are_kept(self, tmp_path, crew):
        with pytest.raises(UserError, match="block 5 cannot be squared"):
            step(Squares(tmp_path, crew=crew, fails_in=5), "all")
        task = Squares(tmp_path, crew=crew)
        step(task, "all")
        assert 5 in task.computed
        assert len(task.computed) < 7
        assert task.complete()["sum"] == SUM


def test_a_worker_that_dies_is_named_with_its_block(tmp_path):
    message = re.escape("a worker process ended with signal SIGKILL in block 4 (was it out of memory?); run again to go on")
    with pytest.raises(UserError, match=message):
        step(Squares(tmp_path, crew=Crew(2, 1), dies_in=4), "all")
    task = Squares(tmp_path)
    step(task, "all")
    assert 4 in task.computed
    assert task.complete()["sum"] == SUM


RUN = """
import sys
sys.path.insert(0, sys.argv[1])
from pathlib import Path
from squares import Squares
from pipeline_lib.artefacts import Budget, Crew, Run, Step, run_task
from pipeline_lib.cli.stage import stage
if __name__ == "__main__":
    with stage("squares", Path(sys.argv[2]), None, step=Step("all")):
        run_task(Squares(sys.argv[2], 40, crew=Crew(2, 1), slow_s=0.1), Run(Budget(1000)))
"""


def children_of(pid):
    found = subprocess.run(["ps", "-o", "pid=", "--ppid", str(pid)], capture_output=True, text=True, check=False).stdout
    return [int(child) for child in found.split()]


def is_running(pid):
    try:
        return "Z" not in Path(f"/proc/{pid}/stat").read_text().split(")")[1].split()[0]
    except OSError:
        return False


@pytest.fixture
def slow_run(tmp_path):
    """A stage with two workers, when it has done some blocks."""
    script = tmp_path / "run.py"
    script.write_text(RUN)
    folder = tmp_path / "artefact"
    command = [sys.executable, script, str(Path(__file__).parent), str(folder)]
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])}
    process = subprocess.Popen(command, env=environment, stderr=subprocess.PIPE, text=True, start_new_session=True)
    deadline = time.monotonic() + 60
    while len(list(folder.glob("squares/*.txt"))) < 4 and time.monotonic() < deadline and process.poll() is None:
        time.sleep(0.02)
    yield process, folder
    if process.poll() is None:
        process.kill()
    process.wait()


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM, signal.SIGINT])
def test_however_a_stage_ends_it_leaves_no_worker_and_goes_on(slow_run, number):
    process, folder = slow_run
    workers = children_of(process.pid)
    assert len(workers) >= 2
    start = time.monotonic()
    process.send_signal(number)
    _, shown = process.communicate(timeout=30)
    assert time.monotonic() - start < 5
    assert process.returncode == (-number if number == signal.SIGKILL else 128 + number)
    assert "Traceback" not in shown
    deadline = time.monotonic() + 5
    while any(map(is_running, workers)) and time.monotonic() < deadline:
        time.sleep(0.02)
    assert not any(map(is_running, workers))
    task = Squares(folder, 40)
    step(task, "all")
    assert 0 < len(task.computed) < 40
    assert task.complete()["sum"] == sum(k**2 for k in range(40)) - 9


def test_a_second_run_names_the_first_and_a_job_only_its_blocks(slow_run, monkeypatch):
    process, folder = slow_run
    monkeypatch.setattr("pipeline_lib.artefacts.blockwise.ORPHAN_PATIENCE_S", 0.3)
    for text in ("all", "plan", "0/4", "finish/4"):
        with pytest.raises(UserError, match=f"in use by squares, process {process.pid} on"):
            step(Squares(folder, 40), text)


def test_jobs_own_their_blocks(tmp_path, monkeypatch):
    monkeypatch.setattr("pipeline_lib.artefacts.blockwise.ORPHAN_PATIENCE_S", 0.0)
    step(Squares(tmp_path), "plan")
    with Lock(tmp_path, what="job a", blocks=range(2, 4)):
        step(Squares(tmp_path), "2/3")  # blocks 4 to 6
        for text in ("1/3", "finish/3", "plan", "all"):
            with pytest.raises(UserError, match="in use by job a, process"):
                step(Squares(tmp_path), text)
    with Lock(tmp_path, what="the whole"), pytest.raises(UserError, match="in use by the whole, process"):
        step(Squares(tmp_path), "2/3")


def test_a_job_without_blocks_waits_for_nobody(tmp_path):
    step(Squares(tmp_path), "plan")
    with Lock(tmp_path, what="job a", blocks=range(7)):
        step(Squares(tmp_path), "0/11")
    assert read_json(tmp_path / "shards" / "0-of-11.json")["blocks"] == []


def need_mb(block):
    return block[0] * block[1] * block[2] * 40 / 1e6


def crew(memory_mb, *, threads=4, n_blocks=100, block=(256, 256, 256)):
    demand = Demand(block, need_mb, setting="x.block_vox", step_vox=(128, 128, 128))
    return crew_for(demand, Budget(memory_mb, threads), name="x", n_blocks=n_blocks)


def test_as_many_workers_as_memory_threads_and_blocks_allow(capsys):
    one_mb = PROCESS_MB + need_mb((256, 256, 256))
    assert crew(PROCESS_MB + 3.5 * one_mb) == Crew(workers=3, threads=1)
    assert "x: 100 blocks of 256 x 256 x 256, 3 processes of 1021 MB within 3924 MB" in capsys.readouterr().err
    assert crew(100_000) == Crew(workers=4, threads=1)
    assert crew(100_000, n_blocks=2) == Crew(workers=2, threads=2)
    assert crew(one_mb) == Crew(workers=1, threads=4)
    assert crew(math.inf) == Crew(workers=4, threads=1)


def test_a_block_that_does_not_fit_is_refused_with_the_largest_that_does():
    message = r"x.block_vox \[256, 256, 256\] takes 1021 MB, but the memory budget is 700 MB; the largest that fits is "
    with pytest.raises(UserError, match=message + r"\[128, 256, 256\]"):
        crew(700)
    with pytest.raises(UserError, match=r"memory budget is 400 MB; no multiple of \[128, 128, 128\] fits"):
        crew(400)


def test_the_largest_block_that_fits_has_the_most_voxels():
    sizes = [(z, y, x) for z in (2, 4, 6) for y in (3, 6) for x in (5, 10, 15)]
    for limit in range(20, 600, 37):
        fitting = [s for s in sizes if s[0] * s[1] * s[2] <= limit]
        found = largest_fitting((6, 6, 15), (2, 3, 5), lambda s, limit=limit: s[0] * s[1] * s[2] <= limit)
        if fitting:
            assert found in fitting
            assert max(a * b * c for a, b, c in fitting) == found[0] * found[1] * found[2]
        else:
            assert found is None


def cgroups(root, own, limits):
    """A file system whose process belongs to the groups `own`, with files below its sys/fs/cgroup."""
    files = {"proc/self/cgroup": own} | {f"sys/fs/cgroup/{path}": f"{limit}\n" for path, limit in limits.items()}
    for path, text in files.items():
        (root / path).parent.mkdir(parents=True, exist_ok=True)
        (root / path).write_text(text)
    return root


def test_memory_is_that_of_the_tightest_group_around_a_process(tmp_path):
    """As systemd (version 2 of cgroups) and Slurm (version 1) confine it, and as a container sees its own group."""
    machine_mb = installed_memory_mb(tmp_path / "nothing")
    assert machine_mb > 100
    own = "0::/system.slice/job 7/step:0\n"
    limits = {"memory.max": "max", "system.slice/memory.max": 9 * 10**6, "system.slice/job 7/step:0/memory.max": "max"}
    assert installed_memory_mb(cgroups(tmp_path / "v2", own, limits)) == 9
    assert installed_memory_mb(cgroups(tmp_path / "v2 inner", own, {**limits, "system.slice/job 7/memory.max": 4 * 10**6})) == 4
    own = "9:cpu:/\n4:hugetlb,memory:/slurm/uid_0/job_7\n0::/\n"
    limits = {f"memory/{path}memory.limit_in_bytes": 2**63 - 4096 for path in ("", "slurm/", "slurm/uid_0/")}
    assert installed_memory_mb(cgroups(tmp_path / "v1 free", own, limits)) == machine_mb
    limits["memory/slurm/uid_0/job_7/memory.limit_in_bytes"] = 5 * 10**6
    assert installed_memory_mb(cgroups(tmp_path / "v1", own, limits)) == 5
    inside = {"memory/memory.limit_in_bytes": 6 * 10**6}
    assert installed_memory_mb(cgroups(tmp_path / "container", "4:memory:/docker/1f\n", inside)) == 6
    assert installed_memory_mb(cgroups(tmp_path / "namespace", "0::/\n", {"memory.max": 3 * 10**6})) == 3
