"""What goes wrong while a run trains, told to a person."""

import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytorch_lightning as pl
import torch

from glow_app.errors import UserError
from glow_app.flows.memory import Drift
from glow_app.runtime import distributed
from glow_app.training.checkpoints.callback import Checkpoints


@contextmanager
def explained(trainer: pl.Trainer, checkpoint: Path | None, checkpoints: Checkpoints) -> Iterator[None]:
    """Inside, what libraries warn of for nothing is silent, and what a person can put right is a UserError."""
    with warnings.catch_warnings():
        # Lightning advises loader workers by counting cores; from a memory-mapped cache none are faster.
        warnings.filterwarnings("ignore", message=".*does not have many workers.*")
        # Lightning 2.6 calls what torch 2.15 deprecates; nothing of ours is concerned.
        warnings.filterwarnings("ignore", message=".*isinstance\\(treespec, LeafSpec\\).*", category=FutureWarning)
        # torch 2.15's code generator calls what torch 2.15 deprecates.
        warnings.filterwarnings("ignore", message=".*torch._prims_common.check.*", category=FutureWarning)
        # torch's compiler looks at the base of a view that is no leaf.
        warnings.filterwarnings("ignore", message=".*grad attribute of a Tensor that is not a leaf.*")
        try:
            yield
        except Drift as error:
            raise UserError(f"step {trainer.global_step}: {error}") from error
        except UserError:
            raise
        except Exception as error:
            if distributed.is_lost_connection(error):
                raise UserError(
                    "another process of this run has ended; go on with "
                    f"glow-train resume={checkpoints.run_folder} once it is known why"
                ) from error
            if checkpoint is not None and not checkpoints.restored:
                reason = " ".join(str(error).split()) or type(error).__name__
                raise UserError(f"{checkpoint} cannot be restored: {reason:.200}; resume from another") from error
            if (told := out_of_memory(error)) is None:
                raise
            raise told from error


def out_of_memory(error: Exception) -> UserError | None:
    """What to say of an exception that means that memory did not suffice; None for any other."""
    if not isinstance(error, torch.OutOfMemoryError) and "can't allocate memory" not in str(error):
        return None
    capture = ", trainer.cuda_graph=false" if isinstance(error, torch.OutOfMemoryError) else ""
    return UserError(
        "out of memory; try a smaller trainer.batch_size (with trainer.accumulate), model.memory=checkpoint or "
        f"reversible{capture}"
    )
