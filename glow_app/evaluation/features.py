"""Networks whose features stand for images, and images that are far from real ones.

A network is a function from uint8 (B, C, H, W) to features (B, d), both on its device.
"""

import copy
import hashlib
import json
import math
from collections.abc import Callable, Iterable
from importlib.util import find_spec
from pathlib import Path

import safetensors
import safetensors.torch
import torch
from torch import Tensor
from torch.nn.functional import one_hot

from glow_app import noise
from glow_app.data.source import ImageSource, fingerprint_digest
from glow_app.errors import UserError
from glow_app.evaluation import judge as judges
from glow_app.evaluation.judge import Judge, Lessons
from glow_app.runtime.atomic import write_atomically
from glow_app.runtime.console import Progress

Network = Callable[[Tensor], Tensor]
"""Images uint8 (B, C, H, W) -> features (B, d)."""

INCEPTION = "pt_inception-2015-12-05-6726825d.pth"
"""The file of InceptionV3's weights that published distances are of, as pytorch-fid and torch-fidelity release it."""


@torch.no_grad()
def features_of(
    network: Network,
    images: Iterable[Tensor],
    device: torch.device,
    n: int,
    progress: Progress = lambda done, total: None,
) -> Tensor:
    """Computes the features of ``n`` images that come in batches of uint8 (B, C, H, W): float64 (n, d), on the CPU."""
    found: list[Tensor] = []
    for batch in images:
        found.append(network(batch.to(device)).double().cpu())
        progress(sum(map(len, found)), n)
    return torch.cat(found)


def labelled_by_classes(source: ImageSource) -> ImageSource:
    """Returns the source, which gets one attribute for each of its classes if it has classes and no attributes."""
    if source.attributes is not None or source.classes is None or len(source.class_names) < 2:
        return source
    labelled = copy.copy(source)
    labelled.attributes = one_hot(source.classes, len(source.class_names)).to(torch.uint8)
    labelled.attribute_names = source.class_names
    return labelled


def saved_classifier(path: Path, source: ImageSource, n_examples: int, seed: int) -> Judge | None:
    """Loads what :func:`save_classifier` has written, if that is of the same images, labels, examples and seed."""
    try:
        with safetensors.safe_open(path, "pt") as file:
            made_of = (file.metadata() or {}).get("made_of")
        if made_of != _made_of(source, n_examples, seed):
            return None
        classifier = Judge(source.image_shape, source.attribute_names, ())
        classifier.load_state_dict(safetensors.torch.load_file(path))
    except (OSError, RuntimeError, safetensors.SafetensorError):  # missing or damaged: it is trained again
        return None
    return classifier.eval()


def save_classifier(classifier: Judge, path: Path, source: ImageSource, n_examples: int, seed: int) -> None:
    """Writes a classifier from :func:`train_classifier`.

    Raises:
        CannotWrite: the disk refuses.
    """
    state = {name: value.cpu().contiguous() for name, value in classifier.state_dict().items()}
    content = safetensors.torch.save(state, {"made_of": _made_of(source, n_examples, seed)})
    write_atomically(path, lambda file: file.write(content))


def _made_of(source: ImageSource, n_examples: int, seed: int) -> str:
    """Digest of all that a classifier depends on."""
    assert source.attributes is not None, "a classifier learns attributes"
    labels = hashlib.sha256(source.attributes.numpy().tobytes()).hexdigest()
    known = (fingerprint_digest(source), labels, source.attribute_names, n_examples, seed)
    return hashlib.sha256(json.dumps(known).encode()).hexdigest()


def train_classifier(
    source: ImageSource, n_examples: int, seed: int, device: torch.device, progress: Progress
) -> Judge:
    """Trains a classifier of the attributes of all images of ``source``; its ``embed`` is a network."""
    lessons = Lessons(source, 0, len(source), (), torch.empty(len(source), 0))
    return judges.train(lessons, n_examples, seed, device, progress)


def inception(weights: Path, device: torch.device) -> Network:
    """Loads InceptionV3 with 2,048 features, as published distances have it; grey images become coloured ones.

    Args:
        weights: file of the weights, :data:`INCEPTION`.
        device: device of the network.

    Raises:
        UserError: torch-fidelity is not installed, or the file is missing or holds something else.
    """
    if not weights.is_file():
        raise UserError(f"quality.weights={weights} does not exist: name the file {INCEPTION}")
    if find_spec("torch_fidelity") is None:
        raise UserError(f"quality.weights={weights} needs torch-fidelity: pip install torch-fidelity, or leave it out")
    from torchmetrics.image.fid import NoTrainInceptionV3  # takes seconds to import

    try:
        # torch-fidelity unpickles whatever is in the file; this refuses code.
        torch.load(weights, map_location="cpu", weights_only=True)
        network = NoTrainInceptionV3("inception-v3-compat", ["2048"], str(weights)).to(device)
    except Exception as error:  # of pickle, zipfile or torch: it depends on the damage
        raise UserError(
            f"quality.weights={weights} holds no weights of InceptionV3, or is damaged: name the file {INCEPTION}"
        ) from error
    return lambda images: network(images.expand(-1, 3, -1, -1))


def blurred(images: Tensor) -> Tensor:
    """Blurs uint8 (B, C, H, W) by a Gaussian of standard deviation 1/32 of the shorter side."""
    from torchvision.transforms.functional import gaussian_blur  # takes a second to import

    sigma = min(images.shape[-2:]) / 32
    return gaussian_blur(images, [2 * math.ceil(3 * sigma) + 1] * 2, [sigma] * 2)


def noise_images(shape: tuple[int, int, int], seed: int, positions: Tensor) -> Tensor:
    """Draws images of independent uniform pixels, functions of (seed, position): uint8 (B, C, H, W)."""
    u = noise.uniform(seed, noise.Stream.PIXELS, positions, math.prod(shape))
    return (256 * u).to(torch.uint8).view(-1, *shape)
