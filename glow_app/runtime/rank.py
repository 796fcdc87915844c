"""The rank of this process, from the environment; without torch, which takes seconds to import."""

import os
from functools import cache
from typing import NamedTuple


class RankInfo(NamedTuple):
    """The rank of this process among those that were started together.

    Attributes:
        rank: rank among all processes, from 0.
        world_size: number of processes.
        local_rank: rank on its machine, which is the index of its GPU.
        local_world_size: number of processes on its machine.
    """

    rank: int
    world_size: int
    local_rank: int
    local_world_size: int


SINGLE_PROCESS = RankInfo(0, 1, 0, 1)


@cache
def rank_info() -> RankInfo:
    """Reads what ``torchrun``, SLURM's ``srun`` or ``glow-train`` has set for this process, else ``SINGLE_PROCESS``."""
    env = os.environ  # read once: Lightning removes some of it when training ends
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
    """Returns whether SLURM's ``srun`` started this process as one of several, not as a batch script or shell."""
    env = os.environ
    named = env.get("SLURM_JOB_NAME") in ("bash", "interactive")  # as in Lightning
    return "SLURM_STEP_ID" in env and int(env.get("SLURM_NTASKS", "1")) > 1 and not named


def environment_of_one() -> dict[str, str]:
    """The environment for a process that this one starts to work by itself."""
    own = ("RANK", "WORLD_SIZE", "LOCAL_RANK", "LOCAL_WORLD_SIZE", "GROUP_RANK", "MASTER_ADDR", "MASTER_PORT")
    return {key: value for key, value in os.environ.items() if key not in own and not key.startswith("SLURM_")}


def is_child() -> bool:
    """Returns whether ``glow-train`` started this process as one of several."""
    return "RANK" not in os.environ and not is_of_srun() and rank_info().rank > 0
