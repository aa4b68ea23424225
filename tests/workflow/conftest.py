import pytest
from blocks_project import blocks_project
from killing import watched
from small_project import Workflow


@pytest.fixture(scope="session")
def finished(tmp_path_factory):
    """The small project, run to its report once for all tests; they must leave its results as they are."""
    workflow = Workflow(tmp_path_factory.mktemp('a user\'s "folder"'))
    workflow.output, _ = workflow.run()
    return workflow


@pytest.fixture(scope="session")
def undisturbed(tmp_path_factory):
    """The project of blocks, run to its end; `durations_s` tells how long the processes of each stage lived."""
    workflow = blocks_project(tmp_path_factory.mktemp("undisturbed") / "a user's folder")
    workflow.durations_s = watched(workflow)
    return workflow
