# Settings, identities and paths that all rules share.
import json
import os
import re
import sys
from functools import cache
from pathlib import Path

from snakemake.exceptions import WorkflowError
from snakemake.logging import logger
from snakemake.utils import update_config

from pipeline_lib.artefacts import Lock
from pipeline_lib.artefacts.complete import job_records
from pipeline_lib.artefacts.budget import installed_memory_mb
from pipeline_lib.artefacts.processes import end_children_on_signals
from pipeline_lib.artefacts.runs import forget_future, record_run
from pipeline_lib.cluster.attend import attend
from pipeline_lib.errors import UserError
from pipeline_lib.settings import identity, parse_experiment, sources, stages
from pipeline_lib.settings.jobs import n_jobs
from pipeline_lib.settings.load import read_config
from pipeline_lib.settings.paths import Paths
from pipeline_lib.settings.project import Ensemble

given = workflow.config_settings.configfiles

try:
    # Read once more: Snakemake takes the last of two equal keys without a word.
    for path in given:
        read_config(Path(path))
    if not given:
        demo = read_config(Path(workflow.basedir).parent / "config" / "demo.yaml")
        update_config(demo, config)
        config = demo
    EXPERIMENT = parse_experiment(config)
    for run in EXPERIMENT.runs:
        sources.check_sources(run.project)
except UserError as error:
    raise WorkflowError(str(error)) from None

# Each id names a result by its content and leads back to the settings that it follows from.
RUNS = [run.project for run in EXPERIMENT.runs]
PATHS = Paths(EXPERIMENT.base)
PAGES = {run.page: Paths(run.project) for run in EXPERIMENT.runs}
VOLUMES = {
    identity.volume_id(run, name): (run, name) for run in RUNS for name in run.volumes
}
MODELS = {
    identity.model_id(run): Paths(run) for run in RUNS if not isinstance(run, Ensemble)
}
PREDICTIONS = {identity.prediction_id(run): Paths(run) for run in RUNS}
SWEEPS = {identity.sweep_id(run): Paths(run) for run in RUNS}
SEGMENTATIONS = {identity.segmentation_id(run): Paths(run) for run in RUNS}
EVALUATIONS = {identity.evaluation_id(run): Paths(run) for run in RUNS}
FOLDER = PATHS.folder

CONFIG = json.dumps(config)

# In the environment of each job, not among the parameters of its rule: how something is run re-runs nothing.
EXECUTION = stages.execution_json(EXPERIMENT.base)
PYTHON_FOLDER = Path(sys.executable).parent
WORKFLOW = os.getpid()
shell.prefix(
    "export PIPELINE_EXECUTION={EXECUTION:q} PIPELINE_WORKFLOW={WORKFLOW} PATH={PYTHON_FOLDER:q}:$PATH; "
)

PROJECT_LOCK = Lock(Path(FOLDER), what="the workflow")


wildcard_constraints:
    volume="[^/]+",
    model="[^/]+",
    prediction="[^/]+",
    sweep="[^/]+",
    segmentation="[^/]+",
    evaluation="|".join(map(re.escape, EVALUATIONS)),  # what another run has left is only read
    page=f"(?:{'|'.join(map(re.escape, PAGES))})",  # also of one run, whose page has no name
    step=r"\d+",
    part=r"planned|\d+-of-\d+",


def options(name, values):
    """A command line option once per value."""
    return [word for value in values for word in (name, value)]


# The run that a result is first made for, of which those that share it say the same.
def imported_by(wc):
    return VOLUMES[wc.volume][0]


def predicted_by(wc):
    return PREDICTIONS[wc.prediction].project


def swept_by(wc):
    return SWEEPS[wc.sweep].project


def segmented_by(wc):
    return SEGMENTATIONS[wc.segmentation].project


def evaluated_by(wc):
    return EVALUATIONS[wc.evaluation].project


# A stage that works block by block is one job, which does all, or a plan, jobs that share the blocks, and one that finishes:
# the part "planned", the parts "<k>-of-<n>", and the rule of the stage itself.
def parts_of(stage, folder, project):
    """An input function: the records of the jobs that share the blocks of a volume; none where one job does all."""
    return lambda wc: job_records(
        Path(folder.format(**wc)), n_jobs(project(wc), VOLUMES[wc.volume][1], stage)
    )


def plan_before(folder):
    """An input function: the plan, which every job waits for."""
    return lambda wc: (
        [] if wc.part == "planned" else f"{folder.format(**wc)}/shards/planned.json"
    )


def part_step(wc):
    return "plan" if wc.part == "planned" else wc.part.replace("-of-", "/")


def last_step(wc, input):
    return f"finish/{len(input.parts)}" if input.get("parts") else "all"


def segment_settings(wc):
    return stages.science_json(stages.segment_stage(segmented_by(wc)))


def written(folder, wc):
    """Where blocks of segments are written: those that still have to grow, apart."""
    grows = segmented_by(wc).segmentation.grow_vox
    return f"{folder}/ungrown" if grows else folder


def source_of(wc):
    run, name = VOLUMES[wc.volume]
    return run.volumes[name]


@cache
def state_of_source(volume):
    run, name = VOLUMES[volume]
    return sources.source_state(run.volumes[name])


# On one machine the jobs share its cores and its memory. A profile for a cluster says what each job has, its memory by default;
# the workflow inside of a job must come to the same as the one that has submitted it.
BY_DEFAULT = workflow.resource_settings.default_resources or {}
ON_CLUSTER = "mem_mb" in BY_DEFAULT or workflow.remote_exec
CORES = 1 if ON_CLUSTER else workflow.resource_settings.cores or 1


def memory_mb(wc, threads):
    """Of a stage, unless the profile says otherwise: the memory of this machine, shared by the jobs that fit its cores."""
    return int(0.9 * installed_memory_mb() * threads / max(CORES, threads))


MEMORY = {} if "mem_mb" in BY_DEFAULT else {"mem_mb": memory_mb}


def profile_says(rule, resource):
    """What the profile sets for a rule, as it is written there; None where it does not."""
    said = workflow.resource_settings.overwrite_resources.get(rule, {}).get(resource)
    return None if said is None else str(getattr(said, "raw", said))


# Where training runs, of which the config has the last word.
LAUNCHER = (
    EXPERIMENT.base.training.launcher or profile_says("train", "launcher") or "inline"
)


def job_resources(resources):
    """Options for a job that a stage submits itself: what the profile says that it may use."""
    plain = {
        name: value
        for name, value in resources.items()
        if isinstance(value, (int, str))
    }
    return ["--launcher", "submitit", "--resources", json.dumps(plain, sort_keys=True)]


if EXPERIMENT.is_sweep and workflow.is_main_process:
    logger.info(EXPERIMENT.summary())


# Only of the workflow that a user has called: those inside of its jobs run without hooks.
onstart:
    try:
        PROJECT_LOCK.__enter__()
        end_children_on_signals()
        attend(workflow.scheduler, Path(FOLDER))
        for run in RUNS:
            record_run(run)
            forget_future(run)
    except UserError as error:
        raise WorkflowError(str(error)) from None


onsuccess:
    if Path(PATHS.report).exists():
        shell("python -m pipeline_lib headline {PATHS.report:q}")
