import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from pipeline_lib.geometry import BlockGrid, Box
from pipeline_lib.inference.blending import Image, blend_planes, blend_whole, read_padded
from pipeline_lib.inference.patches import count_patches


def local_forward(n_channels: int = 2):
    """A stand-in for a network: depends on a neighbourhood, on the place in the patch, and on the channel."""
    generator = torch.Generator().manual_seed(3)
    kernel = torch.randn((n_channels, 1, 3, 3, 3), generator=generator)

    def forward(patch: Tensor) -> Tensor:
        return torch.sigmoid(torch.nn.functional.conv3d(patch, kernel, padding=1))

    return forward


def random_image(shape: tuple[int, int, int]) -> np.ndarray:
    return np.random.default_rng(7).integers(0, 256, shape, dtype=np.uint8)


def blend_boxes(image: Image, patch: tuple[int, int, int], boxes: list[Box], forward, n_channels: int = 2) -> np.ndarray:
    result = np.full((n_channels, *image.shape), np.nan, np.float32)
    for box in boxes:
        z = box.start_vox[0]
        for planes in blend_planes(image, forward, patch_vox=patch, target=box, n_channels=n_channels):
            assert planes.start_vox == z
            values = planes.affinities.numpy()
            result[:, z : z + values.shape[1], box.slices[1], box.slices[2]] = values
            z += values.shape[1]
        assert z == box.stop_vox[0]
    return result


@pytest.mark.parametrize("block", [(5, 7, 6), (16, 16, 16), (9, 40, 40), (40, 9, 8), (1, 20, 30), (100, 100, 100)])
@pytest.mark.parametrize("shape", [(21, 19, 26), (16, 8, 8), (8, 8, 30)])
def test_blocks_equal_whole_volume_blending_to_the_bit(block: tuple[int, int, int], shape: tuple[int, int, int]) -> None:
    image = random_image(shape)
    boxes = [b.write_box for b in BlockGrid(shape, block)]
    blocks = blend_boxes(image, (8, 8, 8), boxes, local_forward())
    np.testing.assert_array_equal(blocks, blend_whole(image, local_forward(), patch_vox=(8, 8, 8), n_channels=2))


@settings(max_examples=40, deadline=None, derandomize=True)
@given(
    shape=st.tuples(*[st.integers(1, 14)] * 3),
    block=st.tuples(*[st.integers(3, 16)] * 3),
    patch=st.tuples(*[st.integers(2, 9)] * 3),
)
def test_any_shapes_of_volume_block_and_patch(
    shape: tuple[int, int, int], block: tuple[int, int, int], patch: tuple[int, int, int]
) -> None:
    image = random_image(shape)
    blocks = blend_boxes(image, patch, [b.write_box for b in BlockGrid(shape, block)], local_forward())
    np.testing.assert_array_equal(blocks, blend_whole(image, local_forward(), patch_vox=patch, n_channels=2))


def test_whole_volume_blending_equals_the_formula_voxel_by_voxel() -> None:
    image, patch = random_image((7, 6, 9)), (4, 4, 6)
    forward = local_forward(1)
    top = np.zeros(image.shape)
    bottom = np.zeros(image.shape)
    for z in (0, 2, 3):
        for y in (0, 2):
            for x in (0, 3):
                cut = image[z : z + 4, y : y + 4, x : x + 6].astype(np.float32) / 255
                values = forward(torch.from_numpy(cut[None, None]))[0, 0].numpy()
                for i, j, k in np.ndindex(patch):
                    weight = min(i + 1, 4 - i, j + 1, 4 - j, k + 1, 6 - k)
                    top[z + i, y + j, x + k] += weight * values[i, j, k]
                    bottom[z + i, y + j, x + k] += weight
    np.testing.assert_allclose(blend_whole(image, forward, patch_vox=patch, n_channels=1)[0], top / bottom, atol=1e-6)


def test_no_patch_is_computed_twice_along_z() -> None:
    calls = []

    def counted(patch: Tensor) -> Tensor:
        calls.append(1)
        return patch.expand(-1, 2, -1, -1, -1)

    image = random_image((50, 12, 12))
    blend_boxes(image, (8, 8, 8), [Box.of_shape(image.shape)], counted)
    assert len(calls) == count_patches(image.shape, (8, 8, 8)) == 12 * 2 * 2


def test_where_all_patches_agree_the_blend_is_what_they_say() -> None:
    image = random_image((13, 10, 11))
    blend = blend_whole(image, lambda patch: patch, patch_vox=(8, 8, 8), n_channels=1)
    np.testing.assert_allclose(blend[0], image.astype(np.float64) / 255, atol=1e-6)


def test_volumes_smaller_than_the_patch_are_reflected_and_cut_off_again() -> None:
    image = random_image((3, 10, 1))
    reflected = image[[0, 1, 2, 1, 0, 1, 2, 1]][:, :, [0] * 8]
    seen = []

    def forward(patch: Tensor) -> Tensor:
        seen.append((patch[0, 0].numpy() * 255).round().astype(np.uint8))
        return patch

    blend = blend_whole(image, forward, patch_vox=(8, 8, 8), n_channels=1)
    assert blend.shape == (1, 3, 10, 1)
    assert len(seen) == 2
    np.testing.assert_array_equal(seen[0], reflected[:, :8])
    np.testing.assert_array_equal(seen[1], reflected[:, 2:])


def test_padding_reads_no_more_than_the_volume() -> None:
    image = random_image((5, 6, 7))
    np.testing.assert_array_equal(read_padded(image, Box((1, 2, 3), (4, 6, 7))), image[1:4, 2:6, 3:7])
    np.testing.assert_array_equal(
        read_padded(image, Box((1, 0, 3), (4, 8, 7))), image[1:4, :, 3:7][:, [0, 1, 2, 3, 4, 5, 4, 3]]
    )
