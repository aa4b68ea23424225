from __future__ import annotations

import errno
import os
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from pipeline_lib.artefacts import write_json
from pipeline_lib.errors import UserError
from pipeline_lib.skeletons import Skeletons, save_skeletons
from pipeline_lib.volumes import Volume, create_array


@pytest.fixture
def volume(tmp_path):
    create_array(tmp_path / "image.zarr" / "0", (4, 5, 6), "uint8", attributes={})[:] = 9
    save_skeletons(tmp_path / "skeletons.npz", Skeletons(np.zeros((1, 3)), np.ones(1), np.zeros((0, 2))))
    return Volume(tmp_path, "train", (4, 5, 6), (20.0, 9.0, 9.0), skeletons_path="skeletons.npz", source="a.h5 array 'raw'")


def test_a_volume_comes_back_as_saved(volume):
    found = Volume.open(volume.save().folder)
    assert found == replace(volume, content=found.content)
    np.testing.assert_array_equal(found.image()[:], np.full((4, 5, 6), 9))
    assert found.labels() is None
    assert found.mask() is None
    assert found.skeletons_file == volume.folder / "skeletons.npz"


def test_the_content_changes_with_the_voxels_and_the_skeletons(volume):
    before = volume.save().content
    assert volume.save().content == before
    create_array(volume.folder / "image.zarr" / "0", (4, 5, 6), "uint8", attributes={})[:] = 8
    changed = volume.save().content
    save_skeletons(volume.folder / "skeletons.npz", Skeletons(np.ones((1, 3)), np.ones(1), np.zeros((0, 2))))
    assert len({before, changed, volume.save().content}) == 3


def test_an_image_elsewhere_is_found_by_its_absolute_path(volume, tmp_path):
    create_array(tmp_path / "else where" / "v", (4, 5, 6), "uint8", attributes={})[:] = 3
    other = replace(volume, image_path=str(tmp_path / "else where" / "v"))
    other.save()
    assert Volume.open(volume.folder).image()[0, 0, 0] == 3


def test_an_image_elsewhere_that_changed_counts_for_nothing(volume, tmp_path, monkeypatch):
    elsewhere = create_array(tmp_path / "elsewhere" / "v", (4, 5, 6), "uint8", attributes={})
    elsewhere[:] = 3
    made = replace(volume, image_path=str(tmp_path / "elsewhere" / "v")).save()
    made.state()
    elsewhere[:] = 4

    def refuse(path, **_):
        raise OSError(errno.EROFS, os.strerror(errno.EROFS))

    changed = "volume train: the image .*v has changed since it was imported"
    with monkeypatch.context() as patch:
        patch.setattr(Path, "unlink", refuse)
        with pytest.raises(UserError, match=rf"^{changed}, but .*volume\.json cannot be removed: Read-only file system; imp"):
            made.state()
    with pytest.raises(UserError, match=f"^{changed}; run the workflow again, which imports it anew$"):
        made.state()
    assert not (volume.folder / "volume.json").exists()


def test_an_image_that_changed_its_shape_is_refused(volume):
    create_array(volume.folder / "image.zarr" / "0", (4, 5, 7), "uint8", attributes={})
    with pytest.raises(UserError, match=r"image\.zarr/0 has shape \(4, 5, 7\), but had \(4, 5, 6\) at import; import it again"):
        volume.image()


def test_a_folder_without_a_complete_import_is_refused(volume):
    with pytest.raises(UserError, match=r"cannot read .*volume\.json"):
        Volume.open(volume.folder)


def test_another_schema_is_refused(volume):
    write_json(volume.folder / "volume.json", {"schema": 99})
    with pytest.raises(UserError, match=r"volume\.json has schema 99, expected 2; import the volume again"):
        Volume.open(volume.folder)
