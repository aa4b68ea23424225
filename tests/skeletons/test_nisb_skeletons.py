from __future__ import annotations

import collections
import os
import pickle
import subprocess
from functools import partial
from pathlib import Path
from typing import Any

import networkx as nx
import numpy as np
import pytest
import zarr

from pipeline_lib.errors import UserError
from pipeline_lib.geometry import nm_to_vox_floor
from pipeline_lib.skeletons.nisb import read_nisb_skeletons

SIZE_NM = (20.0, 9.0, 8.0)
VOXELS_XYZ = np.array([[0, 0, 0], [5, 2, 1], [95, 60, 3], [7, 7, 30]])
IDS = [4, 4, 9, 9]


def _graph(kind: type = nx.Graph, *, size_nm: Any = SIZE_NM, scalars: bool = False) -> nx.Graph:
    graph = kind()
    for node, (voxel, skeleton) in enumerate(zip(VOXELS_XYZ, IDS, strict=True)):
        position = tuple(voxel.tolist()) if scalars else voxel
        graph.add_node(
            node * 10,
            id=np.int32(skeleton) if scalars else skeleton,
            index_position=position,
            nm_position=voxel * np.array(size_nm[::-1]),
        )
    graph.add_edge(0, 10, weight=np.float64(1.5))
    graph.add_edge(30, 20)
    return graph


def _file(path: Path, content: Any, protocol: int = 4) -> Path:
    path.write_bytes(pickle.dumps(content, protocol=protocol))
    return path


@pytest.mark.parametrize("protocol", [3, 4, 5])
@pytest.mark.parametrize("scalars", [False, True])
@pytest.mark.parametrize("kind", [nx.Graph, nx.DiGraph, nx.MultiGraph, nx.MultiDiGraph])
def test_nodes_become_the_middle_of_their_voxel(tmp_path, kind, scalars, protocol):
    found = read_nisb_skeletons(_file(tmp_path / "s.pkl", _graph(kind, scalars=scalars), protocol), SIZE_NM)
    np.testing.assert_allclose(found.node_positions_nm, (VOXELS_XYZ[:, ::-1] + 0.5) * SIZE_NM)
    np.testing.assert_array_equal(nm_to_vox_floor(found.node_positions_nm, SIZE_NM), VOXELS_XYZ[:, ::-1])
    np.testing.assert_array_equal(found.node_skeleton_ids, IDS)
    np.testing.assert_array_equal(found.edges, [[0, 1], [2, 3]])


def test_edge_lengths_equal_those_of_nm_position(tmp_path):
    found = read_nisb_skeletons(_file(tmp_path / "s.pkl", _graph()), SIZE_NM)
    nm = VOXELS_XYZ * np.array(SIZE_NM[::-1])
    np.testing.assert_allclose(found.edge_lengths_nm, [np.linalg.norm(nm[0] - nm[1]), np.linalg.norm(nm[2] - nm[3])])


def test_views_that_networkx_keeps_in_a_used_graph_are_admitted(tmp_path):
    graph = _graph()
    _ = list(graph.nodes), list(graph.edges), graph.adj, graph.degree
    assert len(read_nisb_skeletons(_file(tmp_path / "s.pkl", graph), SIZE_NM).edges) == 2


def test_names_of_older_numpy_are_admitted(tmp_path):
    new = pickle.dumps(_graph(scalars=True), protocol=3)
    assert b"cnumpy._core.multiarray\n" in new
    (tmp_path / "s.pkl").write_bytes(new.replace(b"cnumpy._core.multiarray\n", b"cnumpy.core.multiarray\n"))
    assert read_nisb_skeletons(tmp_path / "s.pkl", SIZE_NM).node_skeleton_ids.tolist() == IDS


def test_big_endian_and_fortran_arrays(tmp_path):
    graph = _graph()
    for node in graph.nodes:
        graph.nodes[node]["index_position"] = graph.nodes[node]["index_position"].astype(">i4")
        graph.nodes[node]["extra"] = np.asfortranarray(np.arange(6, dtype=np.float32).reshape(2, 3))
    found = read_nisb_skeletons(_file(tmp_path / "s.pkl", graph), SIZE_NM)
    np.testing.assert_array_equal(nm_to_vox_floor(found.node_positions_nm, SIZE_NM), VOXELS_XYZ[:, ::-1])


def test_containers_of_the_standard_library_are_admitted(tmp_path):
    graph = _graph()
    graph.graph["made by"] = collections.OrderedDict(
        a={1}, b=frozenset({2}), c=collections.defaultdict(list, x=[bytearray(b"1")])
    )
    assert len(read_nisb_skeletons(_file(tmp_path / "s.pkl", graph), SIZE_NM).edges) == 2


class _Calls:
    """Pickles as a call of a function."""

    def __init__(self, function: Any, *arguments: Any) -> None:
        self.call = (function, arguments)

    def __reduce__(self) -> Any:
        return self.call


@pytest.mark.parametrize(
    ("function", "arguments", "name"),
    [
        (os.system, ("touch {marker}",), r"posix\.system"),
        (eval, ("open('{marker}', 'w')",), r"(__builtin__|builtins)\.eval"),
        (getattr, ("", "join"), r"(__builtin__|builtins)\.getattr"),
        (subprocess.Popen, (["touch", "{marker}"],), r"(subprocess|commands)\.Popen"),
        (partial, (print, 1), r"functools\.partial"),
        (np.load, ("{marker}",), r"numpy\.load"),
        (nx.read_gml, ("{marker}",), r"networkx\..*"),
    ],
)
@pytest.mark.parametrize("protocol", [0, 2, 4, 5])
def test_what_is_not_data_is_refused_by_name_and_not_run(tmp_path, function, arguments, name, protocol):
    marker = str(tmp_path / "ran")
    filled = [[t.format(marker=marker) for t in a] if isinstance(a, list) else str(a).format(marker=marker) for a in arguments]
    graph = _graph()
    graph.nodes[0]["id"] = _Calls(function, *filled) if function is not partial else partial(print, 1)
    path = _file(tmp_path / "s.pkl", graph, protocol)
    if protocol == 0:  # the graph itself needs a reconstructor there, so try the call alone
        path = _file(path, graph.nodes[0]["id"], protocol)
    message = (
        rf"refused to read .*s\.pkl: it names {name}, which is neither a networkx graph nor plain numbers and could run code"
    )
    with pytest.raises(UserError, match=message):
        read_nisb_skeletons(path, SIZE_NM)
    assert not Path(marker).exists()


def test_dotted_names_inside_admitted_modules_are_refused(tmp_path):
    """`networkx.classes.graph` imports other modules; their names must not be reachable through it."""
    path = tmp_path / "s.pkl"
    path.write_bytes(b"\x80\x04\x8c\x16networkx.classes.graph\x94\x8c\x0anx.os.path\x94\x93.")
    with pytest.raises(UserError, match=r"it names networkx\.classes\.graph\.nx\.os\.path"):
        read_nisb_skeletons(path, SIZE_NM)


def test_arrays_of_objects_are_refused(tmp_path):
    graph = _graph()
    graph.nodes[0]["index_position"] = np.array([{}, 1, 2], object)
    with pytest.raises(UserError, match=r"it holds numpy values of type 'O8', which are not numbers"):
        read_nisb_skeletons(_file(tmp_path / "s.pkl", graph), SIZE_NM)


def test_a_wrong_voxel_size_is_refused(tmp_path):
    path = _file(tmp_path / "s.pkl", _graph(size_nm=(12.0, 9.0, 8.0)))
    message = r"nodes are 12 nm apart for each voxel along z, but voxel_size_nm \(z, y, x\) is \(20\.0, 9\.0, 8\.0\); correct"
    with pytest.raises(UserError, match=message):
        read_nisb_skeletons(path, SIZE_NM)
    with pytest.raises(UserError, match=r"nodes are 8 nm apart for each voxel along x, but voxel_size_nm"):
        read_nisb_skeletons(_file(path, _graph()), SIZE_NM[::-1])


def test_nm_position_may_be_missing(tmp_path):
    graph = _graph()
    for node in graph.nodes:
        del graph.nodes[node]["nm_position"]
    assert len(read_nisb_skeletons(_file(tmp_path / "s.pkl", graph), SIZE_NM).edges) == 2


def _without_id() -> nx.Graph:
    graph = _graph()
    del graph.nodes[20]["id"]
    return graph


def _with(name: str, value: Any) -> nx.Graph:
    graph = _graph()
    graph.nodes[10][name] = value
    return graph


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ({"nodes": [1, 2]}, r"s\.pkl holds dict, expected a networkx graph of skeletons"),
        (_without_id(), r"s\.pkl: node 20 has no attribute 'id'"),
        (_with("index_position", (1.5, 2, 3)), r"id and index_position must be whole numbers"),
        (_with("index_position", (1, 2)), r"the node attribute 'index_position' must hold numbers of shape \(3,\)"),
        (_with("index_position", (1, float("nan"), 2)), r"the node attribute 'index_position' must be finite"),
        (_with("id", "five"), r"the node attribute 'id' must hold numbers of shape \(\)"),
    ],
)
def test_graphs_of_another_kind_are_refused(tmp_path, content, message):
    with pytest.raises(UserError, match=message):
        read_nisb_skeletons(_file(tmp_path / "s.pkl", content), SIZE_NM)


def test_an_edge_to_a_missing_node_is_refused(tmp_path):
    graph = _graph()
    graph._adj[0][77] = {}
    with pytest.raises(UserError, match=r"an edge names the node 77, which is not among the nodes"):
        read_nisb_skeletons(_file(tmp_path / "s.pkl", graph), SIZE_NM)


def test_broken_and_missing_files_are_refused(tmp_path):
    path = _file(tmp_path / "s.pkl", _graph())
    path.write_bytes(path.read_bytes()[:-20])
    with pytest.raises(UserError, match=r"cannot read the skeletons .*s\.pkl as a pickled graph: "):
        read_nisb_skeletons(path, SIZE_NM)
    with pytest.raises(UserError, match=r"cannot read the skeletons .*none\.pkl: No such file"):
        read_nisb_skeletons(tmp_path / "none.pkl", SIZE_NM)


def test_an_empty_graph_has_no_skeletons(tmp_path):
    assert read_nisb_skeletons(_file(tmp_path / "s.pkl", nx.Graph()), SIZE_NM).edges.shape == (0, 2)


@pytest.mark.parametrize("split", ["train", "val"])
def test_the_nodes_of_the_sample_lie_on_their_labels(shared_data, split):
    folder = shared_data / "nisb_layout" / split / "seed0"
    found = read_nisb_skeletons(folder / "skeleton.pkl", (10.0, 10.0, 10.0))
    labels = zarr.open(folder / "data.zarr", mode="r")["seg"][:].transpose(2, 1, 0)
    voxels = nm_to_vox_floor(found.node_positions_nm, (10.0, 10.0, 10.0))
    np.testing.assert_array_equal(labels[tuple(voxels.T)], found.node_skeleton_ids)
    with (folder / "skeleton.pkl").open("rb") as file:
        graph = pickle.load(file)  # our own sample
    assert len(found.edges) == graph.number_of_edges()
    nodes = list(graph)
    pairs = {frozenset((nodes[a], nodes[b])) for a, b in found.edges.tolist()}
    assert pairs == {frozenset(edge) for edge in graph.edges}
