"""The memory of translated images: what comes out, and that it can be saved and restored."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.multiprocessing.spawn import spawn

from models.image_pool import ImagePool


def image(value: float) -> Tensor:
    return torch.full((1, 3, 2, 4), value)


def shown(pool: ImagePool, values: list[float], draw: torch.Generator) -> list[float]:
    return [float(pool(image(value), draw)[0, 0, 0, 0]) for value in values]


def draws(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def test_while_it_fills_up_every_image_is_shown_as_it_comes():
    pool, values = ImagePool(50, 2, 4), [float(number) for number in range(50)]
    assert shown(pool, values, draws()) == values
    assert pool.images_N3HW[:, 0, 0, 0].tolist() == values


def test_a_full_pool_shows_half_the_time_an_older_image_which_leaves():
    pool, draw = ImagePool(10, 2, 4), draws()
    values = [float(number) for number in range(1000)]
    found = shown(pool, values, draw)
    older = [got for got, value in zip(found, values, strict=True) if got != value]
    assert 430 < len(older) < 560
    assert len(set(older)) == len(older), "no image is shown twice: what was shown has left"
    assert set(pool.images_N3HW[:, 0, 0, 0].tolist()).isdisjoint(older)
    ages = [value - got for got, value in zip(found, values, strict=True) if got != value]
    assert 12 < sum(ages) / len(ages) < 28, "each stays for ten exchanges, twenty steps, on average"


def test_without_a_pool_every_image_is_shown_as_it_comes():
    assert shown(ImagePool(0, 2, 4), [1.0, 2.0, 3.0], draws()) == [1.0, 2.0, 3.0]


def test_images_of_a_batch_enter_one_after_the_other():
    one, other, draw, again = ImagePool(2, 2, 4), ImagePool(2, 2, 4), draws(), draws()
    for step in range(20):
        pair = [image(2.0 * step), image(2.0 * step + 1)]
        together = one(torch.cat(pair), draw)
        assert torch.equal(together, torch.cat([other(each, again) for each in pair]))
    assert torch.equal(one.images_N3HW, other.images_N3HW)


def test_saved_and_restored_it_goes_on_as_if_nothing_had_happened():
    pool, restored = ImagePool(5, 2, 4), ImagePool(5, 2, 4)
    shown(pool, [float(number) for number in range(17)], draws())
    restored.load_state_dict({name: value.clone() for name, value in pool.state_dict().items()})
    later = [float(number) for number in range(100, 130)]
    assert shown(pool, later, draws(1)) == shown(restored, later, draws(1))


def test_what_comes_out_has_no_gradient_and_is_no_view_of_the_pool():
    pool = ImagePool(1, 2, 4)
    first = image(1.0).requires_grad_()
    assert not pool(first, draws()).requires_grad
    for seed in range(4):
        before = pool(image(2.0 + seed), draws(seed))
        kept = before.clone()
        pool(image(9.0), draws(seed))
        assert torch.equal(before, kept)


def worker(rank: int, address: str, results: list[Tensor]) -> None:
    torch.distributed.init_process_group("gloo", init_method=address, rank=rank, world_size=2)
    pool = ImagePool(3, 2, 4)
    for step in range(12):
        # As in training: each worker has images and draws of its own.
        results[rank][step] = float(pool(image(2.0 * step + rank), draws(2 * step + rank))[0, 0, 0, 0])
    results[rank][12:] = pool.images_N3HW[:, 0, 0, 0]
    torch.distributed.destroy_process_group()


def test_workers_of_a_group_hold_the_same_images(tmp_path):
    results = [torch.zeros(15).share_memory_() for _ in range(2)]
    spawn(worker, (f"file://{tmp_path}/meet", results), nprocs=2)
    assert torch.equal(results[0][12:], results[1][12:])
    alone, expected = ImagePool(3, 2, 4), []
    for position in range(24):
        expected += shown(alone, [float(position)], draws(position))
    found = torch.stack([results[0][:12], results[1][:12]], dim=1).flatten().tolist()
    assert found == expected, "two workers with one image each are one worker with twice as many steps"
