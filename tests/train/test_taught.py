"""The order of samples, and how they are packed."""

from __future__ import annotations

import numpy as np
import torch

from osler.train.taught import Order, Taught, micro_batch, numbers_of_update


def test_each_sample_is_taken_once_an_epoch_whatever_the_batch_and_the_processes() -> None:
    for world in (1, 2, 4):
        order = Order(21, seed=3)
        taken = [
            number
            for step in range(21)
            for rank in range(world)
            for number in numbers_of_update(order, step, batch=8, rank=rank, world=world)
        ]
        assert np.bincount(taken, minlength=21).tolist() == [8] * 21


def test_processes_share_the_very_update_of_one() -> None:
    alone = numbers_of_update(Order(50, seed=1), 9, batch=6)
    shared = [numbers_of_update(Order(50, seed=1), 9, batch=6, rank=rank, world=2) for rank in (0, 1)]
    assert alone == [number for pair in zip(*shared, strict=True) for number in pair]
    assert alone != numbers_of_update(Order(50, seed=2), 9, batch=6)


def test_a_later_start_finds_the_same_samples() -> None:
    order = Order(7, seed=0)
    straight = [numbers_of_update(order, step, batch=4) for step in range(6)]
    assert [numbers_of_update(Order(7, seed=0), step, batch=4) for step in (5, 2)] == [straight[5], straight[2]]


def test_images_of_any_number_stand_in_one_row() -> None:
    samples = [
        Taught(
            name=str(count),
            token_ids=np.arange(count + 3),
            answer_mask=np.arange(count + 3) > count,
            images=torch.full((count, 2, 5), float(count)) if count else None,
        )
        for count in (0, 3, 1)
    ]
    micro = micro_batch(samples, pad=0)
    assert micro.images is not None
    assert micro.images[:, 0, 0].tolist() == [3, 3, 3, 1]
    assert micro.wanted == 6
    assert micro.batch.padding_BL.sum(1).tolist() == [3, 0, 2]
    assert micro_batch(samples[:1], pad=0).images is None


def test_whole_images_beside_single_soft_tokens_become_single_ones() -> None:
    whole, single = torch.arange(2 * 3 * 4.0).reshape(2, 3, 4), torch.arange(5 * 4.0).reshape(5, 1, 4)
    samples = [
        Taught(name="x", token_ids=np.arange(4), answer_mask=np.arange(4) > 1, images=images)
        for images in (whole, None, single)
    ]
    micro = micro_batch(samples, pad=0)
    assert micro.images is not None
    assert torch.equal(micro.images, torch.cat([whole.reshape(6, 1, 4), single]))
    assert micro.starts == (0, 6, 6)
