"""What a Slurm cluster offers: its partitions, and the nodes of each, as `scontrol` tells them."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field

from pipeline_lib.cluster import slurm
from pipeline_lib.errors import UserError

_GPU = re.compile(r"(?:^|,)gpu(?::([A-Za-z0-9_.]+?))?:(\d+)(?=[(,]|$)")
_AGE = re.compile(r"^MinJobAge\s*=\s*(\d+)", re.MULTILINE)


@dataclass(frozen=True)
class Node:
    """gpus: how many of each type; those without a type under the empty name."""

    name: str
    processors: int
    memory_mb: int
    gpus: Mapping[str, int] = field(default_factory=dict)


@dataclass(frozen=True)
class Partition:
    """longest_min: in minutes, infinite where there is no limit."""

    name: str
    is_up: bool
    is_default: bool
    longest_min: float
    nodes: tuple[Node, ...]


@dataclass(frozen=True)
class Offer:
    """remembers_s: for how long a job is listed after its end."""

    partitions: Mapping[str, Partition]
    remembers_s: int


def read_offer() -> Offer:
    """Asks Slurm; UserError where it does not answer."""
    nodes: dict[str, list[Node]] = {}
    for told in map(_pairs, slurm.ask("scontrol", "--oneliner", "show", "node").splitlines()):
        node = _node(told)
        for partition in told.get("Partitions", "").split(","):
            nodes.setdefault(partition, []).append(node)
    partitions = {}
    for told in map(_pairs, slurm.ask("scontrol", "--oneliner", "show", "partition").splitlines()):
        name = told["PartitionName"]
        longest_min = _minutes(told["MaxTime"])
        partitions[name] = Partition(
            name, told["State"] == "UP", told["Default"] == "YES", longest_min, tuple(nodes.get(name, ()))
        )
    age = _AGE.search(slurm.ask("scontrol", "show", "config"))
    return Offer(partitions, int(age[1]) if age else 0)


def _node(told: Mapping[str, str]) -> Node:
    gpus: dict[str, int] = {}
    for kind, count in _GPU.findall(told.get("Gres", "")):
        gpus[kind] = gpus.get(kind, 0) + int(count)
    processors = int(told.get("CPUEfctv", told["CPUTot"]))  # without those that are kept for the system
    return Node(told["NodeName"], processors, int(told["RealMemory"]) - int(told.get("MemSpecLimit", 0)), gpus)


def _minutes(text: str) -> float:
    found = slurm.seconds(text)
    if found is None:
        raise UserError(f"scontrol: expected a time such as 1-12:00:00 or UNLIMITED, got {text!r}")
    return found / 60


def _pairs(line: str) -> dict[str, str]:
    return dict(word.split("=", 1) for word in line.split() if "=" in word)
