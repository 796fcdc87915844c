"""The stream of training images: its order, and that nothing but (seed, position) decides it."""

import pytest
import torch
from torch.utils.data import DataLoader

from glow_app.data.datamodule import random_flip, random_shift
from glow_app.data.stream import Batch, EvaluationBatches, InOrder, StreamBatches, TrainingStream
from tests.data.arrays import ArraySource, VaryingSource


def keep(batch: Batch) -> Batch:
    return batch


def stream(batches: StreamBatches, workers: int = 0) -> list[Batch]:
    loader = DataLoader(
        TrainingStream(ArraySource(10), seed=0), batch_sampler=batches, collate_fn=keep, num_workers=workers
    )
    return list(loader)


def test_every_pass_shows_every_image_once_in_another_order() -> None:
    source = TrainingStream(ArraySource(10), seed=0)
    first, second = ([source.index(10 * k + i) for i in range(10)] for k in (0, 1))
    assert sorted(first) == sorted(second) == list(range(10))
    assert first != second
    assert [TrainingStream(ArraySource(10), seed=1).index(i) for i in range(10)] != first


@pytest.mark.filterwarnings("ignore:This DataLoader will create 4 worker")  # more than a small machine has cores
@pytest.mark.parametrize("workers", [1, 2, 4])
def test_order_does_not_depend_on_the_workers(workers: int) -> None:
    expected = stream(StreamBatches(n_batches=6, batch_size=4))
    for a, b in zip(stream(StreamBatches(6, 4), workers), expected, strict=True):
        assert torch.equal(a.images, b.images)
        assert torch.equal(a.positions, b.positions)
        assert a.labels is not None
        assert b.labels is not None
        assert torch.equal(a.labels, b.labels)


def test_two_processes_with_half_the_batch_see_what_one_sees() -> None:
    whole = stream(StreamBatches(n_batches=5, batch_size=4))
    halves = [stream(StreamBatches(5, 2, rank=rank, world_size=2)) for rank in (0, 1)]
    for one, a, b in zip(whole, *halves, strict=True):
        assert torch.equal(one.images, torch.cat([a.images, b.images]))
        assert torch.equal(one.positions, torch.cat([a.positions, b.positions]))


def test_a_resumed_stream_goes_on_where_it_was() -> None:
    whole = stream(StreamBatches(n_batches=6, batch_size=4))
    rest = stream(StreamBatches(n_batches=6, batch_size=4, first=4))
    assert [b.positions.tolist() for b in rest] == [b.positions.tolist() for b in whole[4:]]
    assert all(torch.equal(a.images, b.images) for a, b in zip(rest, whole[4:], strict=True))


def test_batches_carry_the_images_of_their_positions() -> None:
    source = ArraySource(10)
    data = TrainingStream(source, seed=0)
    batch = data.__getitems__([3, 17])
    assert batch.positions.tolist() == [3, 17]
    for image, label, position in zip(batch.images, batch.labels, [3, 17], strict=True):  # type: ignore[arg-type]
        assert torch.equal(image, source[data.index(position)])
        assert label == data.index(position) % 3


@pytest.mark.parametrize("world_size", [1, 2, 3])
@pytest.mark.parametrize("batch_size", [1, 4, 100])
def test_evaluation_counts_every_image_once(world_size: int, batch_size: int) -> None:
    seen: list[int] = []
    for rank in range(world_size):
        batches = EvaluationBatches(range(11), batch_size, rank, world_size)
        assert len(list(batches)) == len(batches)
        seen += [index for batch in batches for index in batch]
    assert sorted(seen) == list(range(11))


def test_evaluation_is_in_order() -> None:
    source = ArraySource(5)
    batch = InOrder(source, seed=0).__getitems__([1, 2])
    assert torch.equal(batch.images, torch.stack([source[1], source[2]]))
    assert batch.positions.tolist() == [1, 2]


def test_random_crops_are_a_function_of_seed_and_position() -> None:
    source = VaryingSource(10)
    whole = TrainingStream(source, seed=0).__getitems__(list(range(20))).images
    parts = [TrainingStream(source, seed=0).__getitems__([p]).images[0] for p in range(20)]
    assert torch.equal(whole, torch.stack(parts))
    first, second = (TrainingStream(source, seed=0).index(p) for p in (0, 10))
    again = next(p for p in range(10, 20) if TrainingStream(source, seed=0).index(p) == first)
    assert not torch.equal(whole[0], whole[again])  # the same image in the next pass, cropped elsewhere
    assert first != second or not torch.equal(whole[0], whole[10])
    evaluated = InOrder(source, seed=0).__getitems__([3, 5]).images
    assert torch.equal(evaluated[1], InOrder(source, seed=0).__getitems__([5]).images[0])
    assert not torch.equal(evaluated, InOrder(source, seed=1).__getitems__([3, 5]).images)


def test_shifts_are_a_function_of_seed_and_position() -> None:
    images = ArraySource(64, (3, 20, 20)).fetch(range(64))
    positions = torch.arange(64)
    moved = random_shift(images, 0.1, 0, positions)
    assert torch.equal(moved, torch.cat([random_shift(images[p], 0.1, 0, p) for p in positions.split(7)]))
    assert (moved != images).flatten(1).any(1).all()
    ramp = torch.arange(20, dtype=torch.uint8).mul(10).view(1, 1, 20, 1).expand(64, 3, 20, 20)
    change = (random_shift(ramp, 0.1, 0, positions).int() - ramp)[:, :, 5:15].float().mean((1, 2, 3)) / 10
    assert change.abs().max() <= 2.1  # two pixels are a tenth of the side
    assert change.min() < -1
    assert change.max() > 1


def test_flips_are_a_function_of_seed_and_position() -> None:
    images = ArraySource(200).fetch(range(200))
    positions = torch.arange(200)
    flipped = random_flip(images, 0, positions)
    parts = torch.cat([random_flip(images[p], 0, p) for p in positions.split(7)])
    assert torch.equal(flipped, parts)
    changed = (flipped != images).flatten(1).any(1)
    assert torch.equal(flipped[changed], images[changed].flip(-1))
    assert 70 < changed.sum() < 130
    assert not torch.equal(flipped, random_flip(images, 1, positions))
