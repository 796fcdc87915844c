"""Which of several processes this one is, from the environment; without torch, which takes seconds to import."""

import os
from functools import cache
from typing import NamedTuple


class RankInfo(NamedTuple):
    """Which of several processes this one is.

    Attributes:
        rank: its number among all, from 0.
        world_size: how many there are.
        local_rank: its number among those of its machine: which GPU is its own.
        local_world_size: how many there are on its machine.
    """

    rank: int
    world_size: int
    local_rank: int
    local_world_size: int


SINGLE_PROCESS = RankInfo(0, 1, 0, 1)


@cache
def rank_info() -> RankInfo:
    """Reads what ``torchrun``, SLURM's ``srun`` or ``glow-train`` has set for this process, else ``SINGLE_PROCESS``."""
    env = os.environ  # read once: Lightning takes some of it away when training ends
    if "RANK" in env and "WORLD_SIZE" in env:  # torchrun
        world_size = int(env["WORLD_SIZE"])
        return RankInfo(
            int(env["RANK"]), world_size, int(env.get("LOCAL_RANK", "0")), int(env.get("LOCAL_WORLD_SIZE", world_size))
        )
    if is_of_srun():
        tasks, nodes = int(env["SLURM_NTASKS"]), int(env.get("SLURM_NNODES", "1"))
        here = int(env.get("SLURM_NTASKS_PER_NODE", tasks // nodes))
        return RankInfo(int(env["SLURM_PROCID"]), tasks, int(env["SLURM_LOCALID"]), here)
    if "LOCAL_RANK" in env and "WORLD_SIZE" in env:  # glow-train, by Lightning, on one machine
        return RankInfo(int(env["LOCAL_RANK"]), int(env["WORLD_SIZE"]), int(env["LOCAL_RANK"]), int(env["WORLD_SIZE"]))
    return SINGLE_PROCESS


def is_of_srun() -> bool:
    """Whether SLURM's ``srun`` started this process as one of several; a batch script and a shell of its are none."""
    env = os.environ
    named = env.get("SLURM_JOB_NAME") in ("bash", "interactive")  # as Lightning has it
    return "SLURM_STEP_ID" in env and int(env.get("SLURM_NTASKS", "1")) > 1 and not named


def is_child() -> bool:
    """Whether ``glow-train`` started this process, as one of several."""
    return "RANK" not in os.environ and not is_of_srun() and rank_info().rank > 0
