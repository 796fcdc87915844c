"""Devices of torch that can be used here."""

from pathlib import Path

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


def name_of(device: torch.device) -> str:
    """Names what computes: a GPU, or torch's threads and their processor, as far as the system tells it."""
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    n = torch.get_num_threads()
    return f"{n} thread{'s' * (n > 1)} of {processor() or 'a CPU'}"


def processor() -> str | None:
    """The processor's name, as the system tells it; None if it does not."""
    cpuinfo = Path("/proc/cpuinfo")
    lines = cpuinfo.read_text().splitlines() if cpuinfo.exists() else []
    return next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), None)
