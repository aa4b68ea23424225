import numpy as np
import pytest

from pipeline_lib.components import relabel


@pytest.mark.parametrize("dtype", [np.uint32, np.uint64])
@pytest.mark.parametrize("threads", [1, 3, None])
def test_labels_become_what_the_table_says(dtype, threads):
    rng = np.random.default_rng(71)
    labels = rng.integers(0, 50, (5, 6, 7)).astype(np.uint32)
    table = rng.integers(0, 2**32, 50).astype(dtype)
    expected = table[labels]
    found = relabel(labels, table, threads=threads)
    np.testing.assert_array_equal(found, expected)
    assert found.dtype == dtype
    assert (found is labels) == (dtype == np.uint32)


def test_views_are_not_written_to():
    labels = np.arange(60, dtype=np.uint32).reshape(3, 4, 5)
    before = labels.copy()
    table = np.arange(60, dtype=np.uint32)[::-1].copy()
    np.testing.assert_array_equal(relabel(labels[:, ::2, ::-1], table), table[before[:, ::2, ::-1]])
    np.testing.assert_array_equal(labels, before)


def test_nothing_to_relabel():
    assert relabel(np.empty((0, 3, 4), np.uint32), np.zeros(1, np.uint32)).shape == (0, 3, 4)


def test_labels_beyond_the_table_are_refused():
    labels = np.array([[[0, 3]]], np.uint32)
    with pytest.raises(ValueError, match="the table has ids up to 2, the labels go up to 3"):
        relabel(labels, np.zeros(3, np.uint32))
