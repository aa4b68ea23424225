"""A job that asks for a GPU is one process that sees one."""

import shlex
import sys

from cluster_project import adapted
from trivial_jobs import TrivialJobs

COMMAND = f"""
mkdir -p seen done
{shlex.quote(sys.executable)} -c '
import os
from pipeline_lib.artefacts.gpus import own_gpus
with own_gpus(1):
    print(os.environ["SLURMD_NODENAME"], os.environ["CUDA_VISIBLE_DEVICES"])
' >> seen/$n
sleep 5
touch $output
"""


def test_one_process_sees_the_gpu_that_it_asked_for(cluster, tmp_path):
    """Two at once, on the two nodes that have one each."""
    defaults = adapted()["default-resources"] | {"gpu": 1}
    workflow = TrivialJobs(
        tmp_path / "gpus", cluster, jobs=["a", "b"], command=COMMAND, profile_changes={"default-resources": defaults}
    )
    workflow.run()
    seen = [(workflow.folder / "seen" / name).read_text().splitlines() for name in ("a", "b")]
    assert sorted(seen) == [["n1 0"], ["n2 0"]]
