"""Training in Slurm jobs: whatever ends them, it goes on from what was saved, to the weights of a run that was left alone."""

from pathlib import Path

import pytest
from submitted import SubmittedTraining


@pytest.fixture
def make_training(cluster, tmp_path):
    def make(**options):
        return SubmittedTraining(tmp_path, cluster, **options)

    return make


def test_a_training_in_a_job_is_recorded_with_its_costs(make_training, tmp_path):
    training = make_training(steps=4)
    with training.running() as process:
        assert process.wait(120) == 0, training.told()
    (attempt,) = training.attempts()
    assert (attempt["ended"], attempt["restart"]) == ("completed", 0)
    assert f"submitted as job {attempt['job']}" in training.told()
    assert f"job {attempt['job']} is COMPLETED" in training.told()
    assert "train: step 4 of 4" in training.told()  # the job's own words, passed on
    assert "train: step 4 of 4" in Path(attempt["log"]).read_text()
    assert training.record()["wall_s"] == attempt["wall_s"] > 0
    assert training.record()["peak_memory_mb"] == attempt["peak_memory_mb"] > 50
    training.assert_as_if_undisturbed(tmp_path)
