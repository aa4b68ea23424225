"""The oracle of components: scipy's, on the sparse matrix of all present edges."""

import numpy as np
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components


def labelled_by_scipy(present):
    """present: (3, z, y, x) bool. Ids 1..n in the order of their first voxels, 0 = no edge."""
    shape_vox = present.shape[1:]
    voxels = np.arange(present[0].size).reshape(shape_vox)
    starts, ends = [], []
    for axis in range(3):
        inside = (slice(None),) * axis + (slice(None, -1),)
        edges = present[axis][inside]
        starts.append(voxels[inside][edges])
        ends.append(voxels[(slice(None),) * axis + (slice(1, None),)][edges])
    a, b = np.concatenate(starts), np.concatenate(ends)
    _, component = connected_components(coo_array((np.ones(len(a), bool), (a, b)), shape=(voxels.size, voxels.size)))
    labels = np.zeros(voxels.size, np.uint32)
    touched = np.zeros(voxels.size, bool)
    touched[a] = touched[b] = True
    _, first, inverse = np.unique(component[touched], return_index=True, return_inverse=True)
    labels[touched] = np.argsort(np.argsort(first))[inverse] + 1
    return labels.reshape(shape_vox)
