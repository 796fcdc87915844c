"""Continuous flows in the plane: how near their densities come to the entropy, and what the training took.

python -m benchmarks.continuous --runs /tmp/continuous

Each distribution is learned by flow matching, and then, from there, by likelihood. CPU time, one thread; the result is
written to results/continuous.json. A bound that is missed is named, and the exit status is 1.
"""

import argparse
import sys
import time
from pathlib import Path
from typing import Any

import torch
from rich.console import Console

from benchmarks.report import RESULTS
from glow_app import load
from glow_app.cli.compose import compose
from glow_app.data.sets.points import Points
from glow_app.evaluation.density import entropies, log_density
from glow_app.flows import CNF
from glow_app.runtime.atomic import write_json
