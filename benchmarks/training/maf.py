"""The published MAF of MNIST: log-likelihood in the space of the logits, in nats, as its paper reports it.

    python -m benchmarks.training.maf --mnist FOLDER --seconds 3600

Papamakarios et al. 2017, table 2 and appendix C: 28x28, dequantized by uniform noise, ``logit(1e-6 + (1 - 2e-6) x)``; 5
layers with one hidden layer of 1,024 units and batch normalisation between, batches of 100 images. There it is trained
at a rate of 1e-4 until 30 passes bring nothing; here for a given CPU time, at a higher rate that falls to 0, with
averaged weights. 50,000 images train, and 10,000 validate, the last ones of the training part. Where the t10k files
are, it is tested on them.
"""

import argparse
import json
from pathlib import Path

import torch
from torch import Tensor

from benchmarks import report
from benchmarks.training.ideas import adam
from benchmarks.training.ours import Ours
from benchmarks.training.race import Race, Recipe
from benchmarks.training.schedules import clip_norm, cosine
from glow_app.data.sets.mnist import Mnist
from glow_app.errors import UserError
from glow_app.evaluation.likelihood import standard_error
from glow_app.flows import MAF, Flow
from glow_app.flows.family.logit import Logit
from glow_app.likelihood import dequantization_noise, dequantize

ALPHA = 1e-6
PUBLISHED = -1300.5
"""Of the test images, +- 1.7 (two standard errors)."""


@torch.no_grad()
def nats_of_logits(flow: Flow, images: Tensor, alpha: float, batch: int = 250) -> Tensor:
    """Computes ``log p(y)``, y the logits of dequantized images x: ``log p(x) - log|det dy/dx|``, float64 (N,)."""
    logit, found = Logit(alpha), []
    for first in range(0, len(images), batch):
        some = images[first : first + batch]
        x = dequantize(some, dequantization_noise(some, 0, torch.arange(first, first + len(some))), 8)
        found.append((flow.log_prob(x) - logit(x)[1]).double())
    return torch.cat(found)


def main() -> None:
    """Trains, evaluates, and writes results/maf_mnist.json."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--mnist", type=Path, required=True, help="as data.root of glow-train")
    parser.add_argument("--seconds", type=float, default=3600.0, help="CPU seconds of training")
    parser.add_argument("--rate", type=float, default=1e-3)
    parser.add_argument("--state", type=Path, help="file in which training is kept, to go on from")
    parser.add_argument("--output", type=Path, default=report.RESULTS / "maf_mnist.json")
    arguments = parser.parse_args()
    torch.set_num_threads(1)

    def images(split: str) -> Tensor:
        source = Mnist(arguments.mnist, split, validation=10_000, side=28)
        return source.fetch(range(len(source)))

    recipe = Recipe(
        lambda shape: Ours(MAF(shape, n_layers=5, n_hidden=1, width=1024, logit=ALPHA), dtype=None),  # type: ignore[arg-type]
        adam(arguments.rate), cosine(), batch=100, average=0.999, flip=False, clip=clip_norm(100.0), init_images=1000,
    )  # fmt: skip
    val = images("val")
    race = Race(
        recipe, images("train"), val, seconds=arguments.seconds, validations=10, state=arguments.state,
        tell=lambda line: print(line, flush=True),
    )  # fmt: skip
    raced = race.run()
    assert isinstance(race.model, Ours)
    flow = race.model.eval().flow
    results: dict[str, object] = {
        "passes": race.images / len(race.train), "seconds": arguments.seconds,
        "bits_per_dim": {"val": raced.bits, "last_training_batches": raced.train_bits, "curve": raced.curve},
    }  # fmt: skip
    for split in ("val", "test"):
        try:
            nats = nats_of_logits(flow, val if split == "val" else images(split), ALPHA)
        except UserError as error:
            print(error)
            continue
        results[split] = {"nats": nats.mean().item(), "two_standard_errors": 2 * standard_error(nats)}
        print(f"{split}: {nats.mean():.1f} ± {2 * standard_error(nats):.1f} nats; published, test: {PUBLISHED}")
    arguments.output.write_text(json.dumps(results | {"machine": report.machine(torch.device("cpu"))}, indent=1) + "\n")


if __name__ == "__main__":
    main()
