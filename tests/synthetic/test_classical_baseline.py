"""The demo's volumes need learning: classical image processing fails on them."""

import pytest
from classical_baseline import METHODS, best_options, nerl

from pipeline_lib.synthetic import generate

SHAPE_VOX = (96, 160, 160)  # as the test volume in config/demo.yaml; the demo's own val is smaller


@pytest.fixture(scope="module")
def val_and_test():
    return generate(SHAPE_VOX, seed=2), generate(SHAPE_VOX, seed=3)


@pytest.mark.slow
@pytest.mark.parametrize("method", METHODS, ids=lambda m: m.__name__)
def test_the_best_classical_segmentation_scores_low(method, val_and_test, capsys):
    val, test = val_and_test
    best = best_options(method, val)
    score = nerl(test, method(test.image, **best.options))
    with capsys.disabled():
        print(f"\n{method.__name__}: val NERL {best.nerl:.3f}, test NERL {score:.3f} with {best.options}")
    assert 0 < score <= 0.35
