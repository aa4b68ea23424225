"""Reports go on where training does; pictures show what they say."""

import io

import numpy as np
import pytest
import torch
from torch import nn

from pipeline_lib.settings.learning import TargetSettings
from pipeline_lib.training.data import Batch
from pipeline_lib.training.log import Progress, TrainingLog
from pipeline_lib.training.sampling import PatchSampler
from pipeline_lib.training.validation import Validation, section_picture


def test_rows_hold_the_mean_loss_since_the_row_before_also_across_a_kill(tmp_path):
    log = TrainingLog(tmp_path)
    for loss in (1.0, 2.0, 6.0):
        log.add_loss(loss)
    log.add_row(3, learning_rate=0.25, validation_loss=0.5)
    log.add_loss(4.0)
    state = log.state()
    log.add_loss(100.0)  # after the checkpoint, so lost with the kill
    log.add_row(5, learning_rate=0.25)
    log.write()
    log.close()

    again = TrainingLog(tmp_path, state)
    again.add_loss(6.0)
    again.add_row(5, learning_rate=0.125)
    again.write()
    again.close()
    lines = (tmp_path / "metrics.csv").read_text().splitlines()
    assert lines[0] == "step,learning_rate,training_loss,validation_loss,seconds"
    assert [line.rsplit(",", 1)[0] for line in lines[1:]] == ["3,0.25,3.0,0.5", "5,0.125,5.0,"]
    seconds = [float(line.rsplit(",", 1)[1]) for line in lines[1:]]
    assert seconds[1] + 1e-3 >= state["seconds"] >= seconds[0] - 1e-3


def test_a_picture_shows_image_prediction_and_target_side_by_side():
    shape = (1, 4, 3, 5, 7)
    rng = np.random.default_rng(0)
    image = torch.from_numpy(rng.random((1, 1, 3, 5, 7), np.float32))
    target, valid = (torch.from_numpy(rng.random(shape) < 0.5) for _ in range(2))
    affinities = torch.from_numpy(rng.random(shape, np.float32))
    picture = section_picture(Batch(image, target, valid), affinities)
    assert (picture.shape, picture.dtype) == ((5, 21, 3), np.uint8)
    for colour in range(3):
        np.testing.assert_array_equal(picture[:, :7, colour], np.rint(image[0, 0, 1].numpy() * 255))
        np.testing.assert_array_equal(picture[:, 7:14, colour], np.rint(affinities[0, colour, 1].numpy() * 255))
        np.testing.assert_array_equal(picture[:, 14:, colour], 255 * (target & valid)[0, colour, 1].numpy())


def test_validation_pools_all_valid_entries_and_leaves_mode_and_random_state(make_volume):
    shape = (12, 24, 28)
    rng = np.random.default_rng(0)
    image, mask = (rng.integers(0, high, shape).astype(np.uint8) for high in (256, 2))
    volume = make_volume("val", image, (np.indices(shape)[1] // 6 + 1).astype(np.uint32), mask)
    targets = TargetSettings(offsets_vox=((1, 0, 0), (0, 1, 0), (0, 0, 1)))
    sampler = PatchSampler([volume], patch_vox=(8, 8, 8), targets=targets, augmentation=None, seed=0)
    torch.manual_seed(1)
    network = nn.Sequential(nn.Conv3d(1, 3, 1), nn.Dropout(0.5), nn.BatchNorm3d(3)).train()
    network[2].running_mean += 0.3
    random = torch.get_rng_state()
    result = Validation(sampler, 6).evaluate(network, precision="float32", device=torch.device("cpu"))
    assert network.training
    assert network[2].training
    assert torch.equal(torch.get_rng_state(), random)
    network.eval()
    terms = []
    for patch in (sampler[i] for i in range(6)):
        with torch.no_grad():
            probability = torch.sigmoid(network(torch.from_numpy(patch.image)[None])[0]).double().numpy()
        terms.append(-np.log(np.where(patch.target, probability, 1 - probability))[patch.valid])
    assert len({len(term) for term in terms}) > 1
    assert result.loss == pytest.approx(np.concatenate(terms).mean(), rel=1e-5)
    assert len(result.pictures) == 4


def test_progress_without_a_terminal_is_a_line_now_and_then(monkeypatch):
    err = io.StringIO()
    monkeypatch.setattr("sys.stderr", err)
    progress = Progress(start_step=10, end_step=14)
    for step in range(11, 15):
        progress.update(step, 0.5)
    progress.close()
    (line,) = err.getvalue().splitlines()
    assert line.startswith("train: step 14 of 14, loss 0.5000, ")
    assert line.endswith(" steps/s, 0 s left")
    monkeypatch.setattr(Progress, "LINE_EVERY_S", 0.0)
    progress = Progress(start_step=0, end_step=3)
    for step in range(1, 4):
        progress.update(step, 1.0 / step)
    assert len(err.getvalue().splitlines()) == 4


def test_progress_in_a_terminal_is_a_bar(monkeypatch):
    err = io.StringIO()
    err.isatty = lambda: True
    monkeypatch.setattr("sys.stderr", err)
    progress = Progress(start_step=2, end_step=4)
    progress.update(3, 0.25)
    progress.update(4, 0.25)
    progress.close()
    assert "4/4" in err.getvalue()
    assert "loss=0.2500" in err.getvalue()
