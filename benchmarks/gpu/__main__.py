"""Runs a prepared plan within a given time: see README.md beside this file.

    python -m benchmarks.gpu cifar10 --seconds 590 --out FOLDER
    python -m benchmarks.gpu cifar10 --seconds 60 --out FOLDER --rehearsal    # tiny, on a CPU

Called again, it goes on with what was not done.
"""

import argparse
import sys
import time
from pathlib import Path

from benchmarks.gpu import check, cifar10, faces64, profile256
from benchmarks.gpu.work import MARGIN, ROOT, Work, run

PLANS = {
    "cifar10": cifar10.PLAN,
    "cifar10-plus": cifar10.PLUS,
    "faces64": faces64.PLAN,
    "check": check.PLAN,
    "profile256": profile256.PLAN,
}
SHORTEST_TRAINING = 2.0


def main() -> None:
    """Exit status 0 if the whole plan is done."""
    start = time.monotonic()
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("plan", choices=tuple(PLANS))
    options.add_argument("--seconds", type=float, required=True, help="within which it ends")
    options.add_argument("--out", type=Path, required=True, help="folder for what comes back: at most 8 files, 60 MB")
    options.add_argument("--training", type=float, help="seconds of training, over all calls; if left out, what fits")
    options.add_argument("--packed", type=Path, default=ROOT / "benchmarks/gpu/packed", help="what pack.sh has made")
    options.add_argument("--folder", type=Path, help="where it works, and finds what it has done; runs/gpu/PLAN")
    options.add_argument("--rehearsal", action="store_true", help="everything tiny, and on a CPU")
    given = options.parse_args()
    plan = PLANS[given.plan]
    fits = max(SHORTEST_TRAINING, min(plan.training, given.seconds - plan.overhead))
    folder = (given.folder or ROOT / "runs" / "gpu" / given.plan).absolute()
    deadline = start + given.seconds - MARGIN
    training = fits if given.training is None else given.training
    work = Work(given.plan, given.out, folder, given.packed.absolute(), deadline, training, given.rehearsal)
    sys.exit(run(work, plan.tiny if given.rehearsal else plan.stages))


if __name__ == "__main__":
    main()
