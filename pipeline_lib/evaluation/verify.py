"""The scores on skeletons beside those of funlib.evaluate, where that is installed."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np

from pipeline_lib.metrics import SkeletonScores
from pipeline_lib.skeletons import Skeletons

_RELATIVE_TOLERANCE = 1e-6
_INSTALL = "pip install -e '.[verify]'"


@dataclass(frozen=True)
class Verification:
    """agrees: whether every score is the same; None where funlib.evaluate cannot be imported. lines: for the terminal."""

    agrees: bool | None
    lines: tuple[str, ...]


def verify_with_funlib(skeletons: Skeletons, node_segments: np.ndarray, scores: SkeletonScores) -> Verification:
    """Score the same nodes with funlib.evaluate (github.com/funkelab/funlib.evaluate) and compare.

    node_segments: (N,) segment id of each node, 0 = background. scores: of them at merge tolerance 0, the only rule that
    funlib.evaluate has; ValueError for another one. Compared to a relative 1e-6: ERL, NERL, VOI, numbers of mergers and splits.
    """
    if scores.merge_tolerance != 0:
        raise ValueError(f"funlib.evaluate knows merge tolerance 0 only, got scores at {scores.merge_tolerance:g}")
    try:
        theirs = _funlib_scores(skeletons, np.asarray(node_segments))
    except ImportError as error:
        return Verification(None, (f"not verified: funlib.evaluate cannot be imported ({error}); {_INSTALL}",))
    lines, agrees = [], True
    for name, value in theirs.items():
        own = getattr(scores, name)
        same = math.isclose(own, value, rel_tol=_RELATIVE_TOLERANCE, abs_tol=1e-9)
        agrees &= same
        lines.append(f"{name}: {own:.9g} here, {value:.9g} by funlib.evaluate{'' if same else ', DIFFERENT'}")
    told = "agrees" if agrees else "does not agree"
    return Verification(agrees, (f"funlib.evaluate {told} to a relative {_RELATIVE_TOLERANCE:g}:", *lines))


def _funlib_scores(skeletons: Skeletons, node_segments: np.ndarray) -> dict[str, float]:
    """The scores of funlib.evaluate, by their names in SkeletonScores; nodes of skeleton 0 left out."""
    from funlib.evaluate import expected_run_length, rand_voi

    graph, lengths_nm = _as_graph(skeletons)
    truth = dict(graph.nodes(data="skeleton_id"))
    segments = {node: int(node_segments[node]) for node in graph}
    told: dict[str, Any] = {"skeleton_lengths": lengths_nm}
    max_erl_nm = expected_run_length(graph, "skeleton_id", "length_nm", truth, **told)
    erl_nm = expected_run_length(graph, "skeleton_id", "length_nm", segments, **told)
    # asked for apart from the ERL: early versions return another ERL together with them
    _, errors = expected_run_length(graph, "skeleton_id", "length_nm", segments, return_merge_split_stats=True, **told)
    voi = rand_voi(*(np.array(list(ids.values()), np.uint64).reshape(1, 1, -1) for ids in (truth, segments)))
    merged = {int(segment): len(members) for segment, members in errors["merge_stats"].items()}
    return {
        "erl_nm": float(erl_nm),
        "max_erl_nm": float(max_erl_nm),
        "nerl": float(erl_nm / max_erl_nm),
        "voi_split": float(voi["voi_split"]),
        "voi_merge": float(voi["voi_merge"]),
        "n_mergers": sum(merged.values()),
        "n_non0_mergers": sum(n for segment, n in merged.items() if segment != 0),
        "n_splits": sum(len(pairs) for pairs in errors["split_stats"].values()),
    }


def _as_graph(skeletons: Skeletons) -> tuple[Any, dict[int, float]]:
    """A directed graph, in which an edge keeps its first node, and the length of each skeleton in nm.

    Lengths are given in double precision: funlib.evaluate would measure them between positions in single precision. Edges of
    skeletons without any length, by which it would divide, are left out.
    """
    import networkx as nx

    graph = nx.DiGraph()
    ids = skeletons.node_skeleton_ids.tolist()
    graph.add_nodes_from((node, {"skeleton_id": skeleton}) for node, skeleton in enumerate(ids) if skeleton != 0)
    lengths_nm: dict[int, float] = {}
    for (a, b), length_nm in zip(skeletons.edges.tolist(), skeletons.edge_lengths_nm.tolist(), strict=True):
        if a in graph and b in graph:
            graph.add_edge(a, b, length_nm=length_nm)
            lengths_nm[ids[a]] = lengths_nm.get(ids[a], 0.0) + length_nm
    graph.remove_edges_from([edge for edge in graph.edges if not lengths_nm[ids[edge[0]]] > 0])
    lengths_nm = {skeleton: length_nm for skeleton, length_nm in lengths_nm.items() if length_nm > 0}
    return graph, lengths_nm
