# Settings, identities and paths that all rules share.
import json
import re
import sys
from pathlib import Path

from snakemake.exceptions import WorkflowError
from snakemake.utils import update_config

from pipeline_lib.artefacts import Lock
from pipeline_lib.artefacts.runs import record_run
from pipeline_lib.errors import UserError
from pipeline_lib.settings import identity, parse_project, sources, stages
from pipeline_lib.settings.load import read_config
from pipeline_lib.settings.paths import Paths

given = workflow.config_settings.configfiles

try:
    # Read once more: Snakemake takes the last of two equal keys without a word.
    for path in given:
        read_config(Path(path))
    if not given:
        demo = read_config(Path(workflow.basedir).parent / "config" / "demo.yaml")
        update_config(demo, config)
        config = demo
    PROJECT = parse_project(config)
    sources.check_sources(PROJECT)
except UserError as error:
    raise WorkflowError(str(error)) from None

# Each id names a result by its content and leads back to the settings that it follows from.
RUNS = [PROJECT]
PATHS = Paths(PROJECT)
VOLUMES = {
    identity.volume_id(run, name): (run, name) for run in RUNS for name in run.volumes
}
MODELS = {identity.model_id(run): Paths(run) for run in RUNS}
PREDICTIONS = {identity.prediction_id(run): Paths(run) for run in RUNS}
SWEEPS = {identity.sweep_id(run): Paths(run) for run in RUNS}
SEGMENTATIONS = {identity.segmentation_id(run): Paths(run) for run in RUNS}
EVALUATIONS = {identity.evaluation_id(run): Paths(run) for run in RUNS}
FOLDER = PATHS.folder

# In the environment of each job, not among the parameters of its rule: how something is run re-runs nothing.
EXECUTION = stages.execution_json(PROJECT)
PYTHON_FOLDER = Path(sys.executable).parent
shell.prefix("export PIPELINE_EXECUTION={EXECUTION:q} PATH={PYTHON_FOLDER:q}:$PATH; ")

PROJECT_LOCK = Lock(Path(FOLDER), what="the workflow")


wildcard_constraints:
    volume="[^/]+",
    model="[^/]+",
    prediction="[^/]+",
    sweep="[^/]+",
    segmentation="[^/]+",
    evaluation="|".join(map(re.escape, EVALUATIONS)),  # what another run has left is only read
    step=r"\d+",


def options(name, values):
    """A command line option once per value."""
    return [word for value in values for word in (name, value)]


onstart:
    try:
        PROJECT_LOCK.__enter__()
        for run in RUNS:
            record_run(run)
    except UserError as error:
        raise WorkflowError(str(error)) from None


onsuccess:
    shell("python -m pipeline_lib headline {PATHS.report:q}")
