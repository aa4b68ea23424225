"""The shape of the package: what may import what, and that everything imports."""

import ast
import importlib
import pkgutil
import subprocess
import sys
from pathlib import Path

import pytest

import pipeline_lib

ROOT = Path(pipeline_lib.__file__).parent
TIERS = [
    {"errors", "compiled", "settings", "geometry", "volumes", "skeletons", "artefacts"},
    {"affinity", "augment", "network", "components", "metrics"},
    {"synthetic", "importing", "training", "inference", "segmentation", "evaluation", "report"},
    {"cli", "cluster", "__main__"},
]
TIER_OF = {name: tier for tier, names in enumerate(TIERS) for name in names}
STAGES = TIERS[2]
TORCH = {"network", "training", "inference"}


def imports_of(path: Path) -> set[str]:
    """Dotted names of everything that a file imports, at its top or inside functions."""
    names = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            names |= {node.module, *(f"{node.module}.{alias.name}" for alias in node.names)}
    return names


def package_of(path: Path) -> str:
    return path.relative_to(ROOT).parts[0].removesuffix(".py")


FILES = [path for path in sorted(ROOT.rglob("*.py")) if package_of(path) != "__init__"]


def test_every_folder_has_its_tier():
    assert {package_of(path) for path in FILES} == set(TIER_OF)


@pytest.mark.parametrize("path", FILES, ids=lambda p: str(p.relative_to(ROOT)))
def test_nothing_is_imported_upward_or_between_stages(path):
    own = package_of(path)
    for name in imports_of(path):
        parts = name.split(".")
        if parts[0] != "pipeline_lib" or len(parts) < 2 or parts[1] not in TIER_OF:
            continue
        assert TIER_OF[parts[1]] <= TIER_OF[own], f"{own} imports {name}, which lies above it"
        if own in STAGES and parts[1] in STAGES:
            assert parts[1] == own, f"stage {own} imports stage {parts[1]}"


@pytest.mark.parametrize("path", FILES, ids=lambda p: str(p.relative_to(ROOT)))
def test_torch_stays_where_it_belongs(path):
    heavy = {"torch", "monai", "pytorch_lightning", "lightning"}
    if package_of(path) not in TORCH:
        assert not {name.split(".")[0] for name in imports_of(path)} & heavy


def test_every_module_imports():
    for module in pkgutil.walk_packages([str(ROOT)], "pipeline_lib."):
        if not module.name.endswith("__main__"):
            importlib.import_module(module.name)


def test_settings_import_nothing_heavy():
    code = (
        "import sys, pipeline_lib.settings.paths, pipeline_lib.settings.sources, pipeline_lib.artefacts;"
        "print([m for m in ('torch', 'zarr', 'numba', 'numpy', 'scipy', 'matplotlib') if m in sys.modules])"
    )
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert out.strip() == "[]"


def test_no_assert_and_no_pickle_in_the_library():
    for path in FILES:
        tree = ast.parse(path.read_text(encoding="utf-8"))
        assert not [n for n in ast.walk(tree) if isinstance(n, ast.Assert)], (
            f"{path} asserts; raise an error that says what to do"
        )
        unsafe = {"cloudpickle", "dill", "marshal", "shelve"}
        assert not unsafe & imports_of(path)
