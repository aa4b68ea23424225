"""What size filter, growing and flooding do to the voxel VOI of a val volume, each at its best threshold.

python benchmarks/filling.py results/fib25/predictions/<id>/<val> results/fib25/volumes/<val>
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

import numpy as np

from pipeline_lib.components import segment_affinities
from pipeline_lib.metrics import score_labels
from pipeline_lib.settings.scoring import SegmentationSettings
from pipeline_lib.volumes import Volume
from pipeline_lib.volumes.affinities import open_affinities

WAYS = {
    "components": {},
    "and size filter 300": {"min_size_vox": 300},
    "and growth by 2": {"min_size_vox": 300, "grow_vox": 2},
    "or flooding instead": {"min_size_vox": 300, "flood": True},
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("prediction", type=Path, help="folder with affinities.zarr")
    parser.add_argument("volume", type=Path, help="folder with volume.json and labels")
    parser.add_argument("--thresholds", type=float, nargs="+", default=[round(0.5 + 0.02 * i, 2) for i in range(20)])
    parser.add_argument("--json", type=Path, help="file to write the figures to")
    options = parser.parse_args()
    labels = Volume.open(options.volume).labels()
    if labels is None:
        parser.error(f"{options.volume} has no labels")
    truth = np.asarray(labels[:])
    affinities = np.asarray(open_affinities(options.prediction / "affinities.zarr" / "0").array[:3])
    figures = []
    for name, changes in WAYS.items():
        after = SegmentationSettings(**changes).after_labelling
        scores = {t: score_labels(truth, segment_affinities(affinities, t, **after)) for t in options.thresholds}
        threshold, best = min(scores.items(), key=lambda item: item[1].voi_sum)
        figures.append({"way": name, "threshold": threshold, "voi_split": best.voi_split, "voi_merge": best.voi_merge})
        print(f"{name:22s} threshold {threshold:.2f}: VOI {best.voi_split:.3f} + {best.voi_merge:.3f} = {best.voi_sum:.3f}")
    if options.json:
        options.json.write_text(json.dumps(figures, indent=1) + "\n")


if __name__ == "__main__":
    main()
