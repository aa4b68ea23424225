"""What scontrol prints of a cluster, as read here; lines of clusters that the one of the tests is not like."""

import math

import pytest

from pipeline_lib.cluster import offer, slurm
from pipeline_lib.cluster.check import never_start
from pipeline_lib.cluster.offer import Node, Offer, Partition, read_offer
from pipeline_lib.cluster.requests import Plan, Request
from pipeline_lib.errors import UserError

NODES = """\
NodeName=g1 CPUTot=64 CPUEfctv=62 Gres=gpu:a100:4(S:0-1),gpu:t4:2,nvme:1 OS=Linux 6.1 #1 RealMemory=500000 MemSpecLimit=2000 \
Partitions=gpu,all
NodeName=c1 CPUTot=32 Gres=(null) RealMemory=128000 Partitions=all
"""
PARTITIONS = """\
PartitionName=gpu Default=NO MaxTime=2-00:30:00 State=UP
PartitionName=all Default=YES MaxTime=UNLIMITED State=DOWN
PartitionName=none Default=NO MaxTime=00:10:30 State=UP
"""


@pytest.fixture
def told(monkeypatch):
    """A Slurm that prints these lines."""
    texts = {"node": NODES, "partition": PARTITIONS, "config": "Configuration data\nMinJobAge               = 300 sec\n"}
    monkeypatch.setattr(slurm, "ask", lambda *command: texts[command[-1]])


def test_partitions_and_their_nodes(told):
    gpu_node = Node("g1", 62, 498000, {"a100": 4, "t4": 2})
    assert read_offer() == Offer(
        {
            "gpu": Partition("gpu", True, False, 2910, (gpu_node,)),
            "all": Partition("all", False, True, math.inf, (gpu_node, Node("c1", 32, 128000, {}))),
            "none": Partition("none", True, False, 10.5, ()),
        },
        300,
    )


def test_gpus_without_a_type():
    assert offer._GPU.findall("gpu:2,tmpdisk:100") == [("", "2")]
    assert offer._GPU.findall("nvme:1,gpu:8(S:0-1)") == [("", "8")]


@pytest.mark.parametrize(
    ("text", "expected"),
    [("UNLIMITED", math.inf), ("1-00:00:00", 86400), ("01:30:30", 5430), ("1:05", 65), ("59", 59), ("INVALID", None)],
)
def test_seconds(text, expected):
    assert slurm.seconds(text) == expected


def test_a_time_that_is_none(monkeypatch):
    texts = {"node": NODES, "partition": PARTITIONS.replace("UNLIMITED", "ages"), "config": ""}
    monkeypatch.setattr(slurm, "ask", lambda *command: texts[command[-1]])
    with pytest.raises(UserError, match=r"scontrol: expected a time such as 1-12:00:00 or UNLIMITED, got 'ages'"):
        read_offer()


def request(partition="gpu", processors=1, memory_mb=None, gpus=0, gpu_model=""):
    return Request("train", partition, processors, memory_mb, gpus, gpu_model, None, ())


def lines_for(offered, *requests, said=""):
    return never_start(Plan(requests, "sacct", 20), offered, ask=lambda request: said)


def test_what_a_node_has_of_each_kind(told):
    offered = read_offer()
    assert lines_for(offered, request(processors=62, memory_mb=498000, gpus=6)) == []
    assert lines_for(offered, request("all", processors=40, gpus=1, gpu_model="a100")) == [
        "train: partition all takes no jobs now"
    ]
    assert lines_for(offered, request(gpus=3, gpu_model="t4")) == ["train: 3 GPUs t4 (gpu), but a node of gpu has at most 2"]


def test_no_single_node_has_all():
    small_gpu, big = Node("g", 4, 1000, {"": 1}), Node("c", 64, 90000, {})
    offered = Offer({"p": Partition("p", True, True, math.inf, (small_gpu, big))}, 300)
    assert lines_for(offered, request(None, 8, 2000, gpus=1)) == [
        "train: 8 processors, 2000 MB and 1 GPUs, but no node of p has all of them"
    ]


def test_no_partition(told):
    assert lines_for(read_offer(), request("none")) == ["train: partition none has no nodes"]
    no_default = Offer({"p": Partition("p", True, False, math.inf, (Node("c", 1, 1000, {}),))}, 300)
    assert lines_for(no_default, request(None)) == [
        "train: no partition is set, and none is the default; slurm_partition can be p"
    ]


def test_what_slurm_itself_refuses_is_told_once(told):
    assert lines_for(read_offer(), request(), request(), said="no such account") == ["train: no such account"]
