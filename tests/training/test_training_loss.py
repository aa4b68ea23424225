"""The masked loss against its definition, entry by entry."""

import numpy as np
import pytest
import torch

from pipeline_lib.training.loss import masked_bce


def bce(logits, target, valid):
    probability = 1 / (1 + np.exp(-logits.astype(np.float64)))
    terms = -np.where(target, np.log(probability), np.log(1 - probability))
    return terms[valid].mean()


@pytest.fixture
def arrays():
    rng = np.random.default_rng(0)
    shape = (2, 3, 4, 6, 8)
    return rng.normal(0, 2, shape).astype(np.float32), rng.random(shape) < 0.6, rng.random(shape) < 0.7


def test_mean_over_the_valid_entries_of_all_channels_and_samples(arrays):
    logits, target, valid = arrays
    loss = masked_bce(*(torch.from_numpy(a) for a in arrays))
    assert loss.item() == pytest.approx(bce(logits, target, valid), rel=1e-5)


def test_entries_that_are_not_valid_have_no_gradient(arrays):
    logits, target, valid = (torch.from_numpy(a) for a in arrays)
    logits.requires_grad_()
    masked_bce(logits, target, valid).backward()
    assert torch.equal(logits.grad != 0, valid)
    changed = masked_bce(logits.detach(), target ^ ~valid, valid)
    assert changed == masked_bce(logits.detach(), target, valid)


def test_nothing_valid_is_a_loss_of_zero(arrays):
    logits, target, _ = (torch.from_numpy(a) for a in arrays)
    assert masked_bce(logits, target, torch.zeros_like(target)).item() == 0


def test_bfloat16_logits_are_scored_in_float32(arrays):
    logits, target, valid = (torch.from_numpy(a) for a in arrays)
    loss = masked_bce(logits.bfloat16(), target, valid)
    assert loss.dtype == torch.float32
    assert loss.item() == pytest.approx(bce(logits.bfloat16().float().numpy(), target.numpy(), valid.numpy()), rel=1e-5)


def test_coarser_outputs_count_half_of_the_level_before(arrays):
    logits, target, valid = arrays
    coarse = logits[:, :, ::2, ::2, ::2].copy()
    loss = masked_bce([torch.from_numpy(logits), torch.from_numpy(coarse)], torch.from_numpy(target), torch.from_numpy(valid))
    below = bce(coarse, target[:, :, ::2, ::2, ::2], valid[:, :, ::2, ::2, ::2])
    assert loss.item() == pytest.approx((bce(logits, target, valid) + 0.5 * below) / 1.5, rel=1e-5)
