"""The LightningDataModule: sources in, batches of uint8 images on the device out."""

import signal

import pytorch_lightning as pl
from torch import Tensor
from torch.utils.data import DataLoader

from glow_app import noise
from glow_app.data import transforms
from glow_app.data.source import ImageSource
from glow_app.data.stream import Batch, EvaluationBatches, InOrder, StreamBatches, TrainingStream, as_it_is


class ImageDataModule(pl.LightningDataModule):
    """Feeds training from the endless stream and validation in order.

    Args:
        train: training images.
        val: validation images; None for a run without validation.
        batch_size: images per process and training step.
        n_steps: training batches in the whole run (optimizer steps times accumulation).
        seed: seed of the order, crops, flips and shifts.
        flip: mirror each training image with probability 1/2.
        shift: largest random shift of training images, as a fraction of their sides; 0 for none.
        workers: loader processes; 0 loads in the training process, which is the fastest for cached pixels.
        val_images: number of images per validation, the first of ``val``; 0 for all.
    """

    def __init__(
        self,
        train: ImageSource,
        val: ImageSource | None,
        batch_size: int,
        n_steps: int,
        seed: int,
        flip: bool,
        shift: float,
        workers: int,
        val_images: int,
    ) -> None:
        super().__init__()
        self.train = train
        self.val = val
        self.batch_size = batch_size
        self.n_steps = n_steps
        self.seed = seed
        self.flip = flip
        self.shift = shift
        self.workers = workers
        self.n_val = 0 if val is None else min(val_images or len(val), len(val))

    def train_dataloader(self) -> DataLoader[Batch]:
        trainer = self._trainer()
        batches = StreamBatches(
            n_batches=self.n_steps,
            batch_size=self.batch_size,
            first=trainer.global_step * trainer.accumulate_grad_batches,
            rank=trainer.global_rank,
            world_size=trainer.world_size,
        )
        return StreamLoader(TrainingStream(self.train, self.seed), batch_sampler=batches, **self._loader_options())

    def val_dataloader(self) -> DataLoader[Batch] | list[DataLoader[Batch]]:
        if self.val is None:
            return []
        trainer = self._trainer()
        batches = EvaluationBatches(range(self.n_val), 2 * self.batch_size, trainer.global_rank, trainer.world_size)
        return DataLoader(InOrder(self.val, self.seed), batch_sampler=batches, **self._loader_options())

    def on_after_batch_transfer(self, batch: Batch, dataloader_idx: int) -> Batch:
        if not self._trainer().training:
            return batch
        images = batch.images
        if self.flip:
            images = random_flip(images, self.seed, batch.positions)
        if self.shift:
            images = random_shift(images, self.shift, self.seed, batch.positions)
        return batch._replace(images=images)

    def _loader_options(self) -> dict:
        return {
            "collate_fn": as_it_is,
            "num_workers": self.workers,
            "persistent_workers": self.workers > 0,
            "worker_init_fn": ignore_signals if self.workers > 0 else None,
            "pin_memory": self._trainer().strategy.root_device.type == "cuda",
        }

    def _trainer(self) -> pl.Trainer:
        assert self.trainer is not None, "the data module feeds a Trainer"
        return self.trainer


def ignore_signals(worker: int) -> None:
    """Makes a loader worker ignore SIGINT and the first SIGTERM, so that the training process can stop in order.

    Such signals often go to the whole process group. A second SIGTERM ends a worker; workers also end by themselves
    when the training process has ended.
    """
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, lambda number, frame: signal.signal(number, signal.SIG_DFL))


class StreamLoader(DataLoader[Batch]):
    """A loader that can resume in the middle of the stream.

    The number of steps taken determines the position, so there is no state to save; Lightning resumes only loaders that
    have these two methods.
    """

    def state_dict(self) -> dict:
        return {}

    def load_state_dict(self, state_dict: dict) -> None:
        pass


def random_flip(images: Tensor, seed: int, positions: Tensor) -> Tensor:
    """Mirrors about half of the images left to right, chosen by (seed, position): uint8 (B, C, H, W)."""
    return transforms.flip(images, noise.uniform(seed, noise.Stream.FLIP, positions, 1)[:, 0] < 0.5)


def random_shift(images: Tensor, most: float, seed: int, positions: Tensor) -> Tensor:
    """Moves each image by up to ``most`` of its sides in each direction, as a function of (seed, position).

    The published augmentation of CIFAR-10: ``most`` = 0.1, bilinear, edges repeated. uint8 (B, C, H, W).
    """
    fractions = most * (2 * noise.uniform(seed, noise.Stream.SHIFT, positions, 2) - 1)
    return transforms.shift(images, fractions[:, 0], fractions[:, 1])
