"""Results on disk: what is present is complete, has one writer at a time, and says how it was made."""

from pipeline_lib.artefacts.atomic import read_json, replacing, write_json, write_text
from pipeline_lib.artefacts.blockwise import BlockTask, Finished, Run, Step, record_path, records_of, run_task
from pipeline_lib.artefacts.budget import Budget, Crew, Demand, check_block, crew_for
from pipeline_lib.artefacts.lock import Lock
from pipeline_lib.artefacts.measure import StageRecord, measured
from pipeline_lib.artefacts.workers import BlockDone, compute_blocks

__all__ = [
    "BlockDone",
    "BlockTask",
    "Budget",
    "Crew",
    "Demand",
    "Finished",
    "Lock",
    "Run",
    "StageRecord",
    "Step",
    "check_block",
    "compute_blocks",
    "crew_for",
    "measured",
    "read_json",
    "record_path",
    "records_of",
    "replacing",
    "run_task",
    "write_json",
    "write_text",
]
