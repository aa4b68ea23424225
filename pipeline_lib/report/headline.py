"""The result of a run in a few lines."""

from __future__ import annotations

from typing import Any

from pipeline_lib.report.contents import ReportContents, VolumeResult, read_choice, read_results
from pipeline_lib.report.units import count, decimal, interval

# What `by` of choice.json is called in a sentence.
MEASURES = {
    "nerl": "NERL",
    "voi_skeletons": "VOI at skeleton nodes",
    "voi_voxels": "VOI in voxels",
}
TOO_FEW = "no interval: fewer than two skeletons have edges"
_MOST_VOLUMES = 3


def headline_text(contents: ReportContents) -> str:
    """Plain lines for a terminal: scores of the test volumes, each NERL with its merge tolerance, and the threshold."""
    results, choice = read_results(contents), read_choice(contents)
    tests = [result for result in results if result.split == "test"]
    shown = tests if any(result.metrics for result in tests) else results
    lines = [contents.project]
    for result in shown[:_MOST_VOLUMES]:
        lines += _volume_lines(result)
    if len(shown) > _MOST_VOLUMES:
        lines.append(f"  and {len(shown) - _MOST_VOLUMES} more volumes, see the report")
    lines.append(f"  {threshold_sentence(choice)}")
    if choice.get("warning"):
        lines.append(f"  warning: {choice['warning']}")
    return "\n".join(lines) + "\n"


def threshold_sentence(choice: dict[str, Any]) -> str:
    if choice["by"] == "settings":
        return f"threshold {choice['threshold']:g}, given by the settings"
    measure = MEASURES.get(choice["by"], choice["by"])
    return f"threshold {choice['threshold']:g}, chosen on {', '.join(choice['volumes'])} by {measure}"


def error_counts(scores: dict[str, Any]) -> list[tuple[str, str]]:
    """Splits, and mergers without those that background makes, as number and noun."""
    counts = (("split", scores["n_splits"]), ("merger", scores["n_non0_mergers"]))
    return [(count(n), noun if n == 1 else f"{noun}s") for noun, n in counts]


def _volume_lines(result: VolumeResult) -> list[str]:
    name = result.name if result.name == result.split else f"{result.name} ({result.split})"
    if result.metrics is None:
        return [f"  {name}: {count(result.n_segments)} segments, not scored (the volume has no truth)"]
    used = ", used to choose" if result.split == "val" else ""
    skeletons, voxels = result.skeleton_scores, result.voxel_scores
    lines = []
    if skeletons:
        ends = skeletons["nerl_ci95"]
        sure = f"95 % interval {interval(ends, lambda end: decimal(end, 3))}" if ends else TOO_FEW
        errors = ", ".join(f"{n} {noun}" for n, noun in error_counts(skeletons))
        lines.append(
            f"  {name}{used}: NERL {skeletons['nerl']:.3f} at merge tolerance {skeletons['merge_tolerance']} ({sure}); {errors}"
        )
    parts = []
    if skeletons:
        parts.append(f"at skeleton nodes {skeletons['voi_split']:.3f} split + {skeletons['voi_merge']:.3f} merge")
    if voxels:
        parts.append(f"in voxels {decimal(voxels['voi_split'], 3)} split + {decimal(voxels['voi_merge'], 3)} merge")
    lines.append(
        f"  {name}{'' if skeletons else used}: VOI {', '.join(parts)} (bits)" if parts else f"  {name}: no metric asked for"
    )
    comparison = result.metrics.get("comparison")
    if comparison:
        lines.append(f"  {name} against {comparison['against']}: {comparison['verdict']}")
    return lines
