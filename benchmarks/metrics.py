"""score_skeletons against a walk over a networkx graph, on random skeletons in random node order; prints the ratio.

Building the graph is not measured. The walk computes the expected run length alone, score_skeletons all its scores.
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import time
from collections import defaultdict
from collections.abc import Callable
from pathlib import Path
from typing import Any

import networkx as nx
import numpy as np

from pipeline_lib.metrics import score_skeletons
from pipeline_lib.skeletons import Skeletons

ROUNDS = 3


def random_case(n_skeletons: int, n_nodes: int, *, merged: float, seed: int = 0) -> tuple[Skeletons, np.ndarray]:
    """Chains of `n_nodes` nodes cut into segments of 25 nodes on average; every 20th node lies in background.

    merged: fraction of the segments that take in a segment of another skeleton. Nodes and edges come in random order.
    """
    rng = np.random.default_rng(seed)
    total = n_skeletons * n_nodes
    ids = np.repeat(np.arange(1, n_skeletons + 1), n_nodes)
    starts = (rng.random(total) < 1 / 25) | (np.arange(total) % n_nodes == 0)
    segments = np.cumsum(starts)
    names = np.arange(segments[-1] + 1)
    joining = np.flatnonzero(rng.random(len(names)) < merged)
    names[joining] = rng.integers(1, len(names), len(joining))
    segments = np.where(rng.random(total) < 0.05, 0, names[segments])
    positions_nm = np.cumsum(rng.normal(scale=40.0, size=(total, 3)), axis=0)
    edges = np.stack([np.arange(total - 1), np.arange(1, total)], axis=1)[np.arange(1, total) % n_nodes != 0]
    order = rng.permutation(total)
    place = np.argsort(order)
    return Skeletons(positions_nm[order], ids[order], rng.permutation(place[edges])), segments[order]


def graph(positions_nm: np.ndarray, ids: np.ndarray, edges: np.ndarray) -> nx.Graph:
    made = nx.Graph()
    made.add_nodes_from((i, {"id": int(s), "position": p}) for i, (s, p) in enumerate(zip(ids, positions_nm, strict=True)))
    made.add_edges_from(edges.tolist())
    return made


def expected_run_length(skeletons: nx.Graph, segment_of: dict[int, int]) -> float:
    """ERL in nm at merge tolerance 0, edge by edge."""
    met = defaultdict(set)
    for node, told in skeletons.nodes(data=True):
        met[segment_of[node]].add(told["id"])
    total, runs = 0.0, defaultdict(float)
    for u, v in skeletons.edges:
        a, b = skeletons.nodes[u], skeletons.nodes[v]
        length = float(np.linalg.norm(a["position"] - b["position"]))
        total += length
        if segment_of[u] == segment_of[v] != 0 and len(met[segment_of[u]]) == 1:
            runs[a["id"], segment_of[u]] += length
    return sum(run**2 for run in runs.values()) / total


def load_peer(path: Path | None) -> tuple[Callable[..., nx.Graph], Callable[..., float]]:
    """`graph` and `expected_run_length` of another file, or those above."""
    if path is None:
        return graph, expected_run_length
    spec = importlib.util.spec_from_file_location("peer", path)
    if spec is None or spec.loader is None:
        raise SystemExit(f"{path} is no Python file")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module.graph, module.expected_run_length


def fastest_s(work: Callable[[], Any]) -> tuple[float, Any]:
    """The shortest of several rounds, and the result."""
    times_s = []
    for _ in range(ROUNDS):
        start = time.perf_counter()
        result = work()
        times_s.append(time.perf_counter() - start)
    return min(times_s), result


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--skeletons", type=int, default=10_000, help="default: %(default)s")
    parser.add_argument("--nodes", type=int, default=100, help="of each skeleton (default: %(default)s)")
    parser.add_argument("--merged", type=float, default=0.05, help="fraction of segments that merge (default: %(default)s)")
    parser.add_argument("--peer", type=Path, help="file with graph() and expected_run_length() to measure instead of the own")
    parser.add_argument("--json", type=Path, help="file to write the figures to")
    options = parser.parse_args()
    skeletons, segments = random_case(options.skeletons, options.nodes, merged=options.merged)
    make_graph, walk = load_peer(options.peer)
    peer_graph = make_graph(skeletons.node_positions_nm, skeletons.node_skeleton_ids, skeletons.edges)
    segment_of = dict(enumerate(segments.tolist()))
    small, small_segments = random_case(3, 5, merged=0)
    score_skeletons(small, small_segments)  # compiles
    ours_s, scores = fastest_s(lambda: score_skeletons(skeletons, segments))
    peer_s, erl_nm = fastest_s(lambda: walk(peer_graph, segment_of))
    if not np.isclose(scores.erl_nm, erl_nm, rtol=1e-9):
        raise SystemExit(f"the two disagree: ERL {scores.erl_nm} nm and {erl_nm} nm")
    facts = {"nodes": len(segments), "skeletons": options.skeletons, "peer": options.peer.name if options.peer else "own walk"}
    figures = {**facts, "score_skeletons_s": ours_s, "peer_s": peer_s, "ratio": peer_s / ours_s}
    print(
        f"{len(segments)} nodes of {options.skeletons} skeletons, {scores.n_non0_mergers} mergers: "
        f"score_skeletons {ours_s:.3f} s, {facts['peer']} {peer_s:.2f} s, ratio {figures['ratio']:.0f}"
    )
    if options.json:
        options.json.write_text(json.dumps(figures, indent=1) + "\n")


if __name__ == "__main__":
    main()
