import pytest
from small_project import Workflow


@pytest.fixture(scope="session")
def finished(tmp_path_factory):
    """The small project, run to its report once for all tests; they must leave its results as they are."""
    workflow = Workflow(tmp_path_factory.mktemp('a user\'s "folder"'))
    workflow.output, _ = workflow.run()
    return workflow
