import numpy as np
import pytest
from skimage.metrics import variation_of_information

from pipeline_lib.metrics import contingency
from pipeline_lib.metrics.contingency import Contingency, joined, tabulate, tabulate_elements


def tabulated_by_sorting(truth, predicted):
    """The oracle: np.unique over all elements."""
    truth_ids, truth_index = np.unique(truth, return_inverse=True)
    predicted_ids, predicted_index = np.unique(predicted, return_inverse=True)
    cells, counts = np.unique(truth_index * len(predicted_ids) + predicted_index, return_counts=True)
    return Contingency(truth_ids, predicted_ids, *np.divmod(cells, len(predicted_ids)), counts)


def assert_equal(found, expected):
    for name in ("truth_ids", "predicted_ids", "truth_index", "predicted_index", "counts"):
        np.testing.assert_array_equal(getattr(found, name), getattr(expected, name), err_msg=name)
    for name in ("truth_ids", "predicted_ids"):
        assert getattr(found, name).dtype == getattr(expected, name).dtype


def random_ids(seed, n=3000, truth_type=np.int64):
    """Ids of which many agree in their lower 32 bits."""
    rng = np.random.default_rng(seed)
    truth = rng.choice([0, 3, 7, 2**32 + 3, 2**40, 2**62], n).astype(truth_type)
    names = rng.integers(0, 2**64, 500, dtype=np.uint64)
    return truth, names[rng.integers(0, 500, n)]


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
    split, merge = (bits.sum() / len(truth) for bits in table.cell_entropies())
    assert table.variation_of_information() == pytest.approx((split, merge))


@pytest.mark.parametrize("truth_type", [np.int64, np.uint64])
@pytest.mark.parametrize("seed", range(3))
def test_matches_sorting_for_ids_of_64_bits(seed, truth_type):
    truth, predicted = random_ids(seed, truth_type=truth_type)
    assert len(tabulate(truth, predicted).counts) > 1024  # the hash table has grown
    assert_equal(tabulate(truth, predicted), tabulated_by_sorting(truth, predicted))


def test_negative_and_narrow_ids():
    truth, predicted = np.array([[3, -1], [-1, 0]], np.int32), np.array([[7, 7], [7, 255]], np.uint8)
    assert_equal(tabulate(truth, predicted), tabulated_by_sorting(truth.ravel(), predicted.ravel()))


def test_the_cell_of_each_element():
    truth, predicted = random_ids(4)
    table, cells = tabulate_elements(truth, predicted)
    np.testing.assert_array_equal(table.truth_ids[table.truth_index[cells]], truth)
    np.testing.assert_array_equal(table.predicted_ids[table.predicted_index[cells]], predicted)


@pytest.mark.parametrize("chunk", [1, 7, 1000, 5000])
def test_chunks_and_choice_make_no_difference(chunk, monkeypatch):
    monkeypatch.setattr(contingency, "_CHUNK", chunk)
    truth, predicted = (ids[:400].reshape(20, 20).T for ids in random_ids(5))
    assert_equal(tabulate(truth, predicted), tabulated_by_sorting(truth.ravel(), predicted.ravel()))
    where = np.random.default_rng(0).random((20, 20)) < 0.3
    assert_equal(tabulate(truth, predicted, where=where), tabulated_by_sorting(truth[where], predicted[where]))


def test_tables_of_parts_are_joined(monkeypatch):
    truth, predicted = random_ids(6)
    parts = np.array_split(np.arange(len(truth)), 13)
    for chunk in (10, 10**6):  # joined often, and once at the end
        monkeypatch.setattr(contingency, "_CHUNK", chunk)
        table = joined(tabulate_elements(truth[part], predicted[part])[0] for part in parts)
        assert_equal(table, tabulated_by_sorting(truth, predicted))
    with pytest.raises(ValueError, match="must agree in the type of truth_ids, got int64 and uint64"):
        joined([tabulate(truth, predicted), tabulate(truth.astype(np.uint64), predicted)])


def test_equal_partitions():
    table = tabulate(np.array([1, 1, 2]), np.array([5, 5, 4]))
    assert table.variation_of_information() == (0, 0)
    assert str(table.variation_of_information()) == "(0.0, 0.0)"


def test_nothing_at_all():
    for table in (
        tabulate(np.array([], int), np.array([], int)),
        tabulate(np.ones(3, int), np.ones(3, int), where=np.zeros(3, bool)),
    ):
        assert table.counts.size == 0
        assert table.truth_ids.size == 0
    assert joined([]).counts.size == 0
