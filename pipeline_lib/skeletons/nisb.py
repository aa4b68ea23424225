"""Skeletons of the NISB benchmark: a pickled networkx graph, read without running anything that the file names."""

from __future__ import annotations

import pickle
from collections import OrderedDict, defaultdict
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from pipeline_lib.errors import UserError
from pipeline_lib.skeletons.skeletons import Skeletons

NETWORKX_MODULES = (
    "networkx.classes.graph",
    "networkx.classes.digraph",
    "networkx.classes.multigraph",
    "networkx.classes.multidigraph",
    "networkx.classes.coreviews",
    "networkx.classes.reportviews",
)
BUILTINS = {
    kind.__name__: kind for kind in (bool, bytearray, bytes, complex, dict, float, frozenset, int, list, set, str, tuple)
}
NUMBER_KINDS = "biuf"


def read_nisb_skeletons(path: Path, voxel_size_nm: Sequence[float]) -> Skeletons:
    """Skeletons from `skeleton.pkl`; voxel_size_nm: (z, y, x) of the volume, which the file does not store.

    The node attribute `index_position` (x, y, z) names a voxel v; its node is put into the middle of it, at (v + 0.5) voxel
    sizes, in zyx. Voxel v covers [v, v + 1) voxel sizes, so `nm_to_vox_floor` gives v back. The attribute `nm_position`
    (x, y, z), v times the voxel size, differs from that by half a voxel everywhere; it is used only to check the voxel size.
    Edges lose direction, attributes and repetition. UserError for anything else than such a graph.
    """
    graph = _load(path)
    nodes, neighbours = getattr(graph, "_node", None), getattr(graph, "_adj", None)
    if not isinstance(graph, _Record) or not isinstance(nodes, dict) or not isinstance(neighbours, dict):
        raise UserError(f"{path} holds {type(graph).__name__}, expected a networkx graph of skeletons")
    ids = _attribute(nodes, "id", (), path)
    voxels = _attribute(nodes, "index_position", (3,), path)
    if not np.array_equal(ids, np.rint(ids)) or not np.array_equal(voxels, np.rint(voxels)):
        raise UserError(f"{path}: the node attributes id and index_position must be whole numbers")
    if any("nm_position" in attributes for attributes in nodes.values()):
        _check_voxel_size(voxels, _attribute(nodes, "nm_position", (3,), path), voxel_size_nm, path)
    positions_nm = (voxels[:, ::-1] + 0.5) * np.asarray(voxel_size_nm, np.float64)
    return Skeletons(positions_nm, ids.astype(np.int64), _edges(nodes, neighbours, path))


def _attribute(nodes: Mapping[Any, Any], name: str, shape: tuple[int, ...], path: Path) -> np.ndarray:
    """One attribute of all nodes as float64 (N, *shape)."""
    for node, attributes in nodes.items():
        if not isinstance(attributes, dict) or name not in attributes:
            raise UserError(f"{path}: node {node} has no attribute {name!r}")
    try:
        values = np.array([attributes[name] for attributes in nodes.values()], np.float64).reshape(len(nodes), *shape)
    except (TypeError, ValueError) as error:
        raise UserError(f"{path}: the node attribute {name!r} must hold numbers of shape {shape}: {error}") from error
    if not np.isfinite(values).all():
        raise UserError(f"{path}: the node attribute {name!r} must be finite")
    return values


def _check_voxel_size(voxels: np.ndarray, positions_nm: np.ndarray, voxel_size_nm: Sequence[float], path: Path) -> None:
    """Compare with the slope of nm_position over index_position along each axis."""
    for column, (axis, given) in enumerate(zip("xyz", list(voxel_size_nm)[::-1], strict=True)):
        index = voxels[:, column] - voxels[:, column].mean()
        if not index.any():
            continue
        found = float(index @ positions_nm[:, column] / (index @ index))
        if abs(found - given) > 0.05 * given:
            raise UserError(
                f"{path}: nodes are {found:.4g} nm apart for each voxel along {axis}, but voxel_size_nm (z, y, x) is "
                f"{tuple(voxel_size_nm)}; correct voxel_size_nm"
            )


def _edges(nodes: Mapping[Any, Any], neighbours: Mapping[Any, Any], path: Path) -> np.ndarray:
    """(M, 2) indices, the smaller first, in rising order."""
    index = {node: i for i, node in enumerate(nodes)}
    try:
        pairs = {tuple(sorted((index[a], index[b]))) for a, ends in neighbours.items() for b in ends if a != b}
    except (KeyError, TypeError) as error:
        raise UserError(f"{path}: an edge names the node {error}, which is not among the nodes") from error
    return np.array(sorted(pairs), np.int64).reshape(-1, 2)


class _Record:
    """Stands for any networkx object: keeps what the file says about it and does nothing."""

    def __init__(self, *arguments: Any) -> None:
        pass

    def __setstate__(self, state: Any) -> None:
        if isinstance(state, dict):
            self.__dict__.update(state)


class _DType:
    """Stands for `numpy.dtype`: plain numbers only, because numpy trusts the layout that a pickle gives to other types."""

    def __init__(self, code: str, *_: Any) -> None:
        self.dtype = np.dtype(code) if isinstance(code, str) else np.dtype(object)
        if self.dtype.kind not in NUMBER_KINDS:
            raise pickle.UnpicklingError(f"it holds numpy values of type {code!r}, which are not numbers")

    def __setstate__(self, state: Any) -> None:
        self.dtype = self.dtype.newbyteorder(state[1])


class _Array(list[Any]):
    """Stands for `numpy.ndarray`: a list that takes its values when the file gives them."""

    def __setstate__(self, state: Any) -> None:
        _, shape, kind, fortran, data = state
        self[:] = _array(data, kind, shape, "F" if fortran else "C")


def _reconstruct(*_: Any) -> _Array:
    return _Array()


def _array(data: Any, kind: _DType, shape: Sequence[int], order: Any = "C") -> list[Any]:
    values: list[Any] = np.frombuffer(data, kind.dtype).reshape(shape, order=order).tolist()
    return values


def _scalar(kind: _DType, data: bytes) -> Any:
    return np.frombuffer(data, kind.dtype)[0].item()


NUMPY: dict[str, Callable[..., Any]] = {"_reconstruct": _reconstruct, "scalar": _scalar, "_frombuffer": _array}


class _Unpickler(pickle.Unpickler):
    """Gives inert stand-ins for networkx and numpy, a few builtin containers, and nothing else."""

    def find_class(self, module: str, name: str) -> Any:
        if module in NETWORKX_MODULES and name.isidentifier():
            return _Record
        if module == "builtins" and name in BUILTINS:
            return BUILTINS[name]
        if module == "collections" and name in ("OrderedDict", "defaultdict"):
            return {"OrderedDict": OrderedDict, "defaultdict": defaultdict}[name]
        if module == "numpy" and name in ("dtype", "ndarray"):
            return {"dtype": _DType, "ndarray": _Array}[name]
        if module.removeprefix("numpy._core.").removeprefix("numpy.core.") in ("multiarray", "numeric") and name in NUMPY:
            return NUMPY[name]
        raise _ForbiddenError(f"{module}.{name}")


class _ForbiddenError(pickle.UnpicklingError):
    """A name that is not data."""


def _load(path: Path) -> Any:
    try:
        with path.open("rb") as file:
            return _Unpickler(file).load()
    except _ForbiddenError as error:
        raise UserError(
            f"refused to read {path}: it names {error}, which is neither a networkx graph nor plain numbers and could run code"
        ) from error
    except OSError as error:
        raise UserError(f"cannot read the skeletons {path}: {error.strerror or error}") from error
    except Exception as error:  # a broken pickle can raise anything
        raise UserError(f"cannot read the skeletons {path} as a pickled graph: {type(error).__name__}: {error}") from error
