"""Memory that does not suffice, told to a person."""

import torch

from glow_app.errors import UserError


def out_of_memory(error: Exception) -> UserError | None:
    """What to say of an exception that means that memory did not suffice; None for any other."""
    if not isinstance(error, torch.OutOfMemoryError) and "can't allocate memory" not in str(error):
        return None
    return UserError(
        "out of memory; try a smaller trainer.batch_size (with trainer.accumulate), or model.memory=reversible"
    )
