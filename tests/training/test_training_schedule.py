"""Warm-up and cosine."""

import numpy as np
import pytest

from pipeline_lib.training.schedule import learning_rate_factor


def factors(warmup_steps, steps):
    return np.array([learning_rate_factor(s, warmup_steps=warmup_steps, steps=steps) for s in range(steps)])


def test_linear_then_half_a_cosine_to_almost_zero():
    values = factors(10, 110)
    np.testing.assert_allclose(values[:10], np.arange(1, 11) / 10)
    assert values[10] == 1
    assert values[60] == pytest.approx(0.5)
    assert 0 < values[-1] < 1e-3
    assert (np.diff(values[10:]) < 0).all()


def test_no_warmup_starts_at_the_peak():
    assert factors(0, 5)[0] == 1


@pytest.mark.parametrize("warmup_steps", [5, 100])
def test_a_warmup_as_long_as_training_only_rises(warmup_steps):
    np.testing.assert_allclose(factors(warmup_steps, 5), np.arange(1, 6) / warmup_steps)
