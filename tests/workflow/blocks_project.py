"""A small project in which every stage has several blocks, workers and, some of them, several jobs."""

import h5py
from small_project import SMALL, Workflow, synthetic

from pipeline_lib.synthetic.volume import generate

BLOCKS = {group: {"block_vox": [128, 128, 128]} for group in ("inference", "segmentation", "evaluation")}
JOBS = {"predict": 1, "label": 2}


def blocks_project(folder):
    """Its val volume is read from a file and skeletonised; that of test spans four blocks, too."""
    folder.mkdir(parents=True, exist_ok=True)
    made = generate((32, 150, 150), seed=2)
    with h5py.File(folder / "val.h5", "w") as file:
        file["image"], file["labels"] = made.image, made.labels
    val = {
        "split": "val",
        "image": {"path": "val.h5", "array": "image"},
        "labels": {"path": "val.h5", "array": "labels"},
        "voxel_size_nm": [20, 20, 20],
    }
    training = {**SMALL["training"], "steps": 30, "validate_every_steps": 10, "save_every_s": 0.2, "segment_steps": 20}
    volumes = {"train": synthetic("train", 1), "val": val, "test": synthetic("test", 3, (32, 150, 150))}
    return Workflow(folder, volumes=volumes, training=training, blocks_per_job=JOBS, **BLOCKS)
