from __future__ import annotations

import numpy as np
import pytest

from pipeline_lib.errors import UserError
from pipeline_lib.importing.labels import labelling_of


def test_minus_one_is_unlabelled():
    found = labelling_of(np.array([[[-1, 0, 5], [300, -1, 2]]], np.int32), "uint32")
    np.testing.assert_array_equal(found.labels, [[[0, 0, 5], [300, 0, 2]]])
    np.testing.assert_array_equal(found.labelled, [[[False, True, True], [True, False, True]]])
    assert (found.labels.dtype, found.labelled.dtype) == (np.uint32, np.bool_)


def test_a_mask_removes_labels_too():
    values = np.array([[[1, 2, 0, 3]]], np.uint8)
    found = labelling_of(values, "uint32", np.array([[[0, 1, 255, 7]]], np.uint8))
    np.testing.assert_array_equal(found.labels, [[[0, 2, 0, 3]]])
    np.testing.assert_array_equal(found.labelled, [[[False, True, True, True]]])


def test_large_ids_are_kept():
    values = np.array([[[2**63 - 1, 2**40, 1]]], np.uint64)
    np.testing.assert_array_equal(labelling_of(values, "uint64").labels, values)


def test_the_largest_value_of_an_unsigned_type_is_an_id():
    assert labelling_of(np.array([[[255]]], np.uint8), "uint32").labels[0, 0, 0] == 255


def test_other_negative_ids_are_refused():
    with pytest.raises(UserError, match=r"the id -7 is negative; expected ids from 1, 0 = background, -1 = unlabelled"):
        labelling_of(np.array([[[-7, -1, 3]]], np.int16), "uint32")
