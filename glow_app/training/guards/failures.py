"""Turns errors of a training run into messages for the user."""

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
    """Inside the context, hides pointless warnings of libraries and turns what the user can fix into a UserError."""
    with warnings.catch_warnings():
        # Lightning suggests loader workers by counting cores; a memory-mapped cache is faster without.
        warnings.filterwarnings("ignore", message=".*does not have many workers.*")
        # Lightning 2.6 calls what torch 2.15 deprecates; our code does not.
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
                    "another process of this run has ended; find out why, and resume with "
                    f"glow-train resume={checkpoints.run_folder}"
                ) from error
            if checkpoint is not None and not checkpoints.restored:
                reason = " ".join(str(error).split()) or type(error).__name__
                raise UserError(f"{checkpoint} cannot be restored: {reason:.200}; resume from another") from error
            if (explanation := out_of_memory(error)) is None:
                raise
            raise explanation from error


def out_of_memory(error: Exception) -> UserError | None:
    """The UserError for an exception that means too little memory; None for any other."""
    if not isinstance(error, torch.OutOfMemoryError) and "can't allocate memory" not in str(error):
        return None
    capture = ", trainer.cuda_graph=false" if isinstance(error, torch.OutOfMemoryError) else ""
    return UserError(
        "out of memory; try a smaller trainer.batch_size (with trainer.accumulate), model.memory=checkpoint or "
        f"reversible{capture}"
    )
