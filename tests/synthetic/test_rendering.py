"""The rendered image shows what each part of `Look` names."""

from dataclasses import replace

import numpy as np
import pytest

from pipeline_lib.synthetic import Look, generate

PLAIN = Look(faint_membranes=0, organelles=0, cell_contrast=0, texture=0, noise=0, section_defects=0)


def image_of(**changes):
    return generate((32, 48, 48), seed=7, look=replace(PLAIN, **changes)).image.astype(float)


@pytest.fixture(scope="module")
def plain():
    return generate((32, 48, 48), seed=7, look=PLAIN)


@pytest.fixture(scope="module")
def membrane(plain):
    """Voxels that touch another label."""
    touching = np.zeros(plain.labels.shape, bool)
    for axis in range(3):
        differs = np.diff(plain.labels.astype(int), axis=axis) != 0
        for side in ((1, 0), (0, 1)):
            touching |= np.pad(differs, [side if a == axis else (0, 0) for a in range(3)])
    return touching


def test_membranes_are_dark_and_cytoplasm_is_bright(plain, membrane):
    assert np.percentile(plain.image[membrane], 90) < np.percentile(plain.image[~membrane], 10) + 40
    assert plain.image[membrane].mean() < plain.image[~membrane].mean() - 50


def test_faint_membranes_lose_contrast_and_cytoplasm_stays(plain, membrane):
    change = image_of(faint_membranes=0.7) - plain.image
    assert change[membrane].mean() > 10
    assert change[membrane].max() > 40
    assert change.min() >= -8  # of the flicker of sections


def test_organelles_darken_part_of_the_cytoplasm(plain, membrane):
    change = image_of(organelles=3.0) - plain.image
    assert 0.05 < np.mean(change[~membrane] < -20) < 0.6


def test_cells_differ_in_grey_level(plain, membrane):
    def spread(image):
        inside = [image[(plain.labels == n) & ~membrane] for n in range(1, plain.labels.max() + 1)]
        return np.std([np.median(values) for values in inside])

    assert spread(image_of(cell_contrast=0.1)) > spread(plain.image) + 10


def test_noise_and_texture_are_as_strong_as_asked(plain):
    assert np.std(image_of(noise=0.05) - plain.image) == pytest.approx(0.05 * 255, rel=0.1)
    assert 0.3 * 0.1 * 255 < np.std(image_of(texture=0.1) - plain.image) < 1.2 * 0.1 * 255


def test_section_defects_strike_whole_sections(plain):
    change = np.abs(image_of(section_defects=0.3) - plain.image).mean(axis=(1, 2))
    assert 3 <= np.sum(change > 20) <= 16
