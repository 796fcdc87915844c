"""The LightningDataModule: sources in, batches of uint8 images on the device out."""

import pytorch_lightning as pl
from torch import Tensor
from torch.utils.data import DataLoader

from glow_app import noise
from glow_app.data import transforms
from glow_app.data.sampler import Batch, EvaluationBatches, InOrder, StreamBatches, TrainingStream
from glow_app.data.source import ImageSource


class ImageDataModule(pl.LightningDataModule):
    """Feeds training from the endless stream and validation in order.

    Args:
        train: training images.
        val: validation images.
        batch_size: images per process and training step.
        n_steps: training batches in the whole run (optimizer steps times accumulation).
        seed: of the order and of the flips.
        flip: mirror every second training image, at random.
        workers: loader processes; 0 loads in the training process, which is the fastest for cached pixels.
        val_images: how many images, the first of ``val``, one validation takes; 0 for all.
    """

    def __init__(
        self,
        train: ImageSource,
        val: ImageSource,
        batch_size: int,
        n_steps: int,
        seed: int,
        flip: bool,
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
        self.workers = workers
        self.n_val = min(val_images or len(val), len(val))

    def train_dataloader(self) -> DataLoader[Batch]:
        trainer = self._trainer()
        batches = StreamBatches(
            n_batches=self.n_steps,
            batch_size=self.batch_size,
            first=trainer.global_step * trainer.accumulate_grad_batches,
            rank=trainer.global_rank,
            world_size=trainer.world_size,
        )
        return StreamLoader(TrainingStream(self.train, self.seed), batch_sampler=batches, **self._loading())

    def val_dataloader(self) -> DataLoader[Batch]:
        trainer = self._trainer()
        batches = EvaluationBatches(self.n_val, 2 * self.batch_size, trainer.global_rank, trainer.world_size)
        return DataLoader(InOrder(self.val), batch_sampler=batches, **self._loading())

    def on_after_batch_transfer(self, batch: Batch, dataloader_idx: int) -> Batch:
        if self.flip and self._trainer().training:
            return batch._replace(images=random_flip(batch.images, self.seed, batch.positions))
        return batch

    def _loading(self) -> dict:
        return {
            "collate_fn": _as_it_is,
            "num_workers": self.workers,
            "persistent_workers": self.workers > 0,
            "pin_memory": self._trainer().strategy.root_device.type == "cuda",
        }

    def _trainer(self) -> pl.Trainer:
        assert self.trainer is not None, "the data module feeds a Trainer"
        return self.trainer


class StreamLoader(DataLoader[Batch]):
    """A loader that a resumed run continues in the middle.

    Where it continues follows from the number of steps taken, so it has no state of its own; Lightning asks for the two
    methods before it believes that a loader can be resumed.
    """

    def state_dict(self) -> dict:
        return {}

    def load_state_dict(self, state_dict: dict) -> None:
        pass


def random_flip(images: Tensor, seed: int, positions: Tensor) -> Tensor:
    """Mirrors half of the images left to right, which ones being a function of (seed, position): uint8 (B, C, H, W)."""
    return transforms.flip(images, noise.uniform(seed, noise.Stream.FLIP, positions, 1)[:, 0] < 0.5)


def _as_it_is(batch: Batch) -> Batch:
    return batch
