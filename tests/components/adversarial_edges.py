"""Edges at which a way of labelling can go wrong, (3, z, y, x) bool at the source voxel."""

import numpy as np


def spiral(size):
    """One way, one voxel wide, that winds inward through a plane, and on through a second and a third one."""
    path = np.zeros((size, size), bool)
    y, x, step, ahead = 0, -1, (0, 1), size
    while ahead > 0:
        for _ in range(ahead):
            y, x = y + step[0], x + step[1]
            path[y, x] = True
        step = (step[1], -step[0])
        ahead -= 2 if step[0] == 0 or ahead == size else 0
        if ahead == size:
            ahead -= 1
    planes = np.stack([path, np.zeros_like(path), path])
    planes[1, y, x] = True
    return planes


def between(voxels):
    """Present edges between neighbouring voxels that are both set."""
    present = np.zeros((3, *voxels.shape), bool)
    for axis in range(3):
        here = (slice(None),) * axis + (slice(None, -1),)
        there = (slice(None),) * axis + (slice(1, None),)
        present[axis][here] = voxels[here] & voxels[there]
    return present


def adversarial():
    rng = np.random.default_rng(31)
    every_other = np.indices((3, 8, 9, 10)).sum(axis=0) % 2 == 0
    cells = np.indices((8, 9, 10)).sum(axis=0) % 2 == 0
    comb = np.zeros((3, 6, 7, 40), bool)
    comb[0, :, 0, ::2], comb[2, -1] = True, True
    return {
        "one spiral": between(spiral(21)),
        "a spiral seen from its side": between(spiral(21).transpose(1, 2, 0).copy()),
        "checkerboard of edges": every_other,
        "checkerboard of voxels": between(cells),
        "all edges": np.ones((3, 4, 5, 6), bool),
        "one plane": rng.random((3, 1, 30, 40)) < 0.5,
        "one row": rng.random((3, 1, 1, 200)) < 0.5,
        "one column": rng.random((3, 200, 1, 1)) < 0.5,
        "combs that meet in the last plane": comb,
        "sparse": rng.random((3, 12, 13, 14)) < 0.1,
        "critical": rng.random((3, 12, 13, 14)) < 0.25,
        "dense": rng.random((3, 12, 13, 14)) < 0.8,
    }
