"""Which jobs of a workflow a Slurm cluster would never start, and why: one line each."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

from pipeline_lib.cluster import slurm
from pipeline_lib.cluster.attend import WORKFLOW_MB
from pipeline_lib.cluster.offer import Node, Offer, Partition
from pipeline_lib.cluster.requests import Plan, Request
from pipeline_lib.errors import UserError

_POLLS_TO_BE_SEEN = 3


def never_start(plan: Plan, offer: Offer, *, ask: Callable[[Request], str]) -> list[str]:
    """One line for each thing that is asked for and that no node or partition has.

    ask: what Slurm itself says of a request, empty where it would take it: it knows accounts, qualities of service and more.
    """
    lines = []
    for request in plan.requests:
        found = list(_impossible(request, offer)) or [ask(request)]
        lines += [f"{request.rule}: {line}" for line in found if line]
    least_s = _POLLS_TO_BE_SEEN * plan.poll_s
    if plan.status_command == "squeue" and offer.remembers_s < least_s:
        lines.append(
            f"every job: squeue lists it for {offer.remembers_s} s after its end (MinJobAge), asked every {plan.poll_s} s; "
            "set slurm-status-command: sacct, or a shorter slurm-init-seconds-before-status-checks"
        )
    return list(dict.fromkeys(lines))


def refusal(request: Request) -> str:
    """Why sbatch would not take a job, by its `--test-only`; empty where it would."""
    try:
        slurm.ask("sbatch", "--test-only", *request.options, "--wrap", "true")
    except UserError as error:
        return f"would not be taken: {error}"
    return ""


def _impossible(request: Request, offer: Offer) -> Iterator[str]:
    partition = _partition(request, offer)
    if partition is None:
        there = ", ".join(offer.partitions)
        asked = (
            f"there is no partition {request.partition}"
            if request.partition
            else "no partition is set, and none is the default"
        )
        yield f"{asked}; slurm_partition can be {there}"
        return
    name = partition.name
    if not partition.is_up:
        yield f"partition {name} takes no jobs now"
    if request.runtime_min is not None and request.runtime_min > partition.longest_min:
        yield f"runtime {request.runtime_min:g} min, but {name} ends jobs after {partition.longest_min:g} min"
    if not partition.nodes:
        yield f"partition {name} has no nodes"
        return
    alone = list(_beyond_all_nodes(request, name, partition.nodes))
    yield from alone
    if not alone and not any(_fits(request, node) for node in partition.nodes):
        memory = f"{request.memory_mb} MB and " if request.memory_mb else ""
        yield f"{request.processors} processors, {memory}{_gpus(request)}, but no node of {name} has all of them"


def _beyond_all_nodes(request: Request, name: str, nodes: Sequence[Node]) -> Iterator[str]:
    processors = max(node.processors for node in nodes)
    memory_mb = max(node.memory_mb for node in nodes)
    gpus = max(_gpus_of(node, request.gpu_model) for node in nodes)
    if request.processors > processors:
        yield f"{request.processors} processors (set-threads), but a node of {name} has at most {processors}"
    if request.memory_mb is not None and request.memory_mb > memory_mb:
        yield f"{request.memory_mb} MB of memory (mem_mb + {WORKFLOW_MB}), but a node of {name} has at most {memory_mb} MB"
    if request.gpus > gpus:
        yield f"{_gpus(request)} (gpu), but a node of {name} has at most {gpus}"


def _partition(request: Request, offer: Offer) -> Partition | None:
    if request.partition is not None:
        return offer.partitions.get(request.partition)
    return next((partition for partition in offer.partitions.values() if partition.is_default), None)


def _fits(request: Request, node: Node) -> bool:
    return (
        node.processors >= request.processors
        and node.memory_mb >= (request.memory_mb or 0)
        and _gpus_of(node, request.gpu_model) >= request.gpus
    )


def _gpus_of(node: Node, model: str) -> int:
    return sum(count for kind, count in node.gpus.items() if not model or kind == model)


def _gpus(request: Request) -> str:
    return f"{request.gpus} GPUs{' ' + request.gpu_model if request.gpu_model else ''}"
