"""Devices of torch that can be used here."""

import torch

from glow_app.errors import UserError


def usable(device: str | torch.device) -> torch.device:
    """Returns the device, after it has been tried.

    Raises:
        UserError: there is no such device, or torch cannot use it.
    """
    try:
        found = torch.device(device)
        torch.zeros(1).to(found)
    except (RuntimeError, AssertionError) as error:  # the latter from a torch that was built without CUDA
        reason = str(error).splitlines()[0].partition(". ")[0]
        raise UserError(f"device={device} cannot be used here ({reason}): choose cpu") from error
    return found
