"""Results on disk: what is present is complete, has one writer at a time, and says how it was made."""

from pipeline_lib.artefacts.atomic import read_json, replacing, write_json, write_text
from pipeline_lib.artefacts.lock import Lock
from pipeline_lib.artefacts.measure import StageRecord, measured
from pipeline_lib.artefacts.shards import ShardStore

__all__ = ["Lock", "ShardStore", "StageRecord", "measured", "read_json", "replacing", "write_json", "write_text"]
