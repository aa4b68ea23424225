"""A small project in which every stage has several blocks, workers and, some of them, several jobs."""

import h5py
from small_project import SMALL, Workflow, synthetic

from pipeline_lib.synthetic.volume import generate

SHAPE_VOX = (32, 136, 136)
BLOCKS = {group: {"block_vox": [128, 128, 128]} for group in ("inference", "segmentation", "evaluation")}
JOBS = {"predict": 2, "label": 2}


def blocks_project(folder):
    return Workflow(folder, workers=True, **blocks_settings(folder))


def blocks_settings(folder, file="val.h5"):
    """Its val volume is read from a file in the folder and skeletonised."""
    folder.mkdir(parents=True, exist_ok=True)
    made = generate(SHAPE_VOX, seed=2)
    with h5py.File(folder / file, "w") as opened:
        opened["image"], opened["labels"] = made.image, made.labels
    val = {
        "split": "val",
        "image": {"path": file, "array": "image"},
        "labels": {"path": file, "array": "labels"},
        "voxel_size_nm": [20, 20, 20],
    }
    training = {**SMALL["training"], "steps": 12, "validate_every_steps": 4, "save_every_s": 0.1, "segment_steps": 8}
    volumes = {"train": synthetic("train", 1), "val": val}
    return {"volumes": volumes, "training": training, "blocks_per_job": JOBS, **BLOCKS}
