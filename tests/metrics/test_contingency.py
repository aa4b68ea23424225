import numpy as np
import pytest
from skimage.metrics import variation_of_information

from pipeline_lib.metrics.contingency import tabulate


@pytest.mark.parametrize("seed", range(5))
def test_table_and_measures_match_a_dense_table(seed):
    rng = np.random.default_rng(seed)
    truth = rng.choice([0, 3, 7, 2**40], 300)
    predicted = np.where(rng.random(300) < 0.5, truth % 11, rng.integers(0, 6, 300)).astype(np.uint64)
    table = tabulate(truth, predicted)
    dense = np.array([[np.sum((truth == t) & (predicted == p)) for p in np.unique(predicted)] for t in np.unique(truth)])
    found = np.zeros_like(dense)
    found[table.truth_index, table.predicted_index] = table.counts
    np.testing.assert_array_equal(found, dense)
    assert (table.counts > 0).all()
    np.testing.assert_array_equal(table.truth_counts, dense.sum(axis=1))
    np.testing.assert_array_equal(table.predicted_counts, dense.sum(axis=0))
    assert table.pair_counts() == ((dense**2).sum(), (dense.sum(axis=1) ** 2).sum(), (dense.sum(axis=0) ** 2).sum())
    places = np.unique(truth, return_inverse=True)[1]  # skimage makes a row for every number up to the greatest id
    assert table.variation_of_information() == pytest.approx(variation_of_information(places, predicted.astype(int)))


def test_equal_partitions():
    table = tabulate(np.array([1, 1, 2]), np.array([5, 5, 4]))
    assert table.variation_of_information() == (0, 0)
    assert str(table.variation_of_information()) == "(0.0, 0.0)"


def test_nothing_at_all():
    assert tabulate(np.array([], int), np.array([], int)).counts.size == 0
