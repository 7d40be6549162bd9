import numpy as np
import torch

from lab.training.config import PATCH_SIZE
from lab.training.data.augment import augment

SIDE = 12


def patch_board(number: int) -> torch.Tensor:
    """Partitions whose patches are dark and light by turns, `[n, 3, S, S]`."""
    light = (np.add.outer(np.arange(SIDE), np.arange(SIDE)) % 2).astype(np.uint8)
    board = np.kron(60 + 140 * light, np.ones((PATCH_SIZE, PATCH_SIZE), dtype=np.uint8))
    return torch.from_numpy(np.broadcast_to(board, (number, 3, *board.shape)).copy())


def test_patches_go_on_showing_what_they_showed() -> None:
    board = patch_board(64)
    changed = augment(board, np.random.default_rng(1))
    assert changed.shape == board.shape and changed.dtype == torch.uint8
    before, after = (
        x.float().mean(1).unflatten(2, (SIDE, PATCH_SIZE)).unflatten(1, (SIDE, PATCH_SIZE))
        for x in (board, changed)
    )
    is_light = before[:, :, 0, :, 0] > 130
    stays_light = after.mean(dim=(2, 4)) > after.mean(dim=(1, 2, 3, 4), keepdim=True)[..., 0, 0]
    assert (is_light == stays_light).float().mean() > 0.99


def test_every_partition_changes_in_its_own_way() -> None:
    board = patch_board(8)
    changed = augment(board, np.random.default_rng(1)).float()
    far = (changed[:, None] - changed[None]).abs().mean(dim=(2, 3, 4))
    assert (far[~torch.eye(8, dtype=torch.bool)] > 3.0).all()
    assert ((changed - board.float()).abs().mean(dim=(1, 2, 3)) > 1.0).all()


def test_the_same_draw_changes_the_same() -> None:
    board = patch_board(4)
    first, second, other = (augment(board, np.random.default_rng(seed)) for seed in (3, 3, 4))
    assert torch.equal(first, second)
    assert not torch.equal(first, other)
