"""The ``README.md`` of an exported model, in the layout of the Hugging Face hub."""

import math
from dataclasses import dataclass

from glow_app.artifacts.card import Card
from glow_app.config.models.vae import VAEConfig
from glow_app.latents.directions import Directions
from glow_app.latents.strength import shown_first, strengths
from glow_app.model import Model
from glow_app.units import duration, with_error

SPLITS = (("test", "test"), ("val", "validation"))

TERMS = {
    "drawn_faces": "The faces that it was trained on are drawn by the program itself, and show nobody.",
    "celeba": "Trained on CelebA: its images, and what is derived from them, are for non-commercial research only.",
    "celeba_hq": "Trained on CelebA-HQ: its images are for non-commercial use only (CC BY-NC 4.0).",
    "imagenet32": "Trained on ImageNet: its images are for non-commercial research and education only.",
    "imagenet64": "Trained on ImageNet: its images are for non-commercial research and education only.",
}
"""Data set -> the terms of its images, where they are known."""


@dataclass(frozen=True)
class Turned:
    """The judge's verdict on edits of one attribute; None if there was nothing to count.

    Attributes:
        success: share of images whose predicted attribute flips.
        drift: mean change of the predicted probability of the other attributes.
    """

    success: float | None
    drift: float | None


@dataclass(frozen=True)
class Judged:
    """The judge's results.

    Attributes:
        images: number of edited images.
        split: their split of the data.
        amount: amount of the edits.
        means: method -> mean over the attributes.
        attributes: method -> attribute -> verdict on its edits.
    """

    images: int
    split: str
    amount: float
    means: dict[str, Turned]
    attributes: dict[str, dict[str, Turned]]


def model_card(
    model: Model,
    name: str,
    licence: str | None,
    directions: Directions | None,
    judged: Judged | None,
    temperature: float,
) -> str:
    """Returns Markdown: what the model is, its metrics, how it was trained, how to use it, and its limits.

    Args:
        model: exported model.
        name: name of the folder.
        licence: identifier of the licence, if one is given.
        directions: directions exported with it, if any.
        judged: the judge's results on its edits, if any.
        temperature: temperature of the samples in ``samples.png``.
    """
    card = model.card
    parts = [_front(card, licence), f"# {name}\n", _summary(card)]
    parts += [f"![Samples at temperature {temperature:g}](samples.png)\n", _facts(model), _origin(card)]
    parts.append(_use(card, name, directions))
    if directions is not None:
        parts.append(_attributes(directions, judged))
    parts.append(_limits(directions))
    return "\n".join([*parts, _licence(card, licence)])


def _front(card: Card, licence: str | None) -> str:
    lines = ["library_name: glow_app", "pipeline_tag: unconditional-image-generation"]
    lines += [] if licence is None else [f"license: {licence}"]
    kind = ("vae",) if isinstance(card.model, VAEConfig) else ("glow",)
    tags = (*kind, "normalizing-flow", "pytorch", str(card.data["name"]))
    return "\n".join(["---", *lines, "tags:", *(f"- {tag}" for tag in tags), "---", ""])


def _summary(card: Card) -> str:
    channels, height, width = card.image_shape
    if isinstance(card.model, VAEConfig):
        size = f"{channels}x{height}x{width}"
        return f"{card.model.paper} of {size} images, with a bound of likelihoods, trained on `{card.data['name']}`.\n"
    return (
        f"{card.model.paper}: an invertible model of {channels}x{height}x{width} images with exact "
        f"likelihoods, trained on `{card.data['name']}`.\n"
    )


def _facts(model: Model) -> str:
    card = model.card
    n_parameters = sum(parameter.numel() for parameter in model.flow.parameters())
    stored = ", kernels of convolutions stored in bfloat16" if model.storage == "bf16" else ""
    rows = [
        ("architecture", card.model.shape),
        ("parameters", f"{n_parameters:,}{stored}"),
        ("bits per subpixel", str(card.n_bits)),
        ("data", f"`{card.data['name']}`: {card.preprocessing}"),
        ("weights", f"{card.weights}, step {card.step:,}"),
    ]
    if card.init_from is not None:
        rows.append(("training started from", f"`{card.init_from}`"))
    if card.teacher is not None:
        rows.append(("distilled from", f"`{card.teacher}`"))
    if card.class_names:
        rows.append(("classes", ", ".join(card.class_names)))
    for split, words in SPLITS:
        bits, error, n = (card.metrics.get(f"{split}/{key}") for key in ("bits_per_dim", "standard_error", "images"))
        if bits is not None:
            images = "" if n is None else f" ({n:,.0f} images)"
            figure = with_error(bits, math.nan if error is None else error)
            what = "bits/dim, a bound" if isinstance(card.model, VAEConfig) else "bits/dim"
            rows.append((f"{what}, {words}", f"{figure}{images}"))
    return "\n".join(["| | |", "|---|---|", *(f"| {key} | {value} |" for key, value in rows), ""])


def _origin(card: Card) -> str:
    trained = ""
    if card.seconds is not None and card.hardware is not None:
        trained = f"{duration(card.seconds)} on {card.hardware}.\n\n"
    versions = ", ".join(f"{name} {number}" for name, number in card.versions.items())
    how = "How it was trained is not known.\n" if card.command is None else f"```sh\n{card.command}\n```\n"
    return f"## How it was made\n\n{how}\n{trained}" + (f"With {versions}.\n" if versions else "")


def _use(card: Card, name: str, directions: Directions | None) -> str:
    lines = [
        "import glow_app",
        "",
        f'model = glow_app.load("{name}")  # this folder, or hf://owner/name',
        f"images = model.sample(16, temperature=0.7, seed=0{', label=0' if card.class_names else ''})",
    ]
    if not card.class_names:
        lines.append('latents = model.encode("me.jpg")  # tensors of N(0, I) numbers, finest first')
        same = "means of pixels, not the same ones" if isinstance(card.model, VAEConfig) else "the same pixels"
        lines.append(f"again = model.decode(latents)  # {same}")
    if directions is not None:
        lines.append(f'directions = glow_app.load_directions("{name}")')
        lines.append(f'edited = model.edit("me.jpg", directions, {{"{shown_first(directions.names)[0]}": 1.0}})')
    code = "\n".join(lines)
    then = f"`glow-demo checkpoint={name}`, a page with sliders"
    if isinstance(card.model, VAEConfig):
        then = f"`glow-interpolate checkpoint={name} images=sample:0,sample:1`"
    return f"## Use\n\n```python\n{code}\n```\n\nOr {then}.\n"


def _attributes(directions: Directions, judged: Judged | None) -> str:
    counts = directions.metadata.get("counts", {})
    found = strengths(directions).tolist()
    order = sorted(range(len(directions.names)), key=lambda row: -found[row])
    lines = [
        "## Attributes\n",
        f"Directions in the latents (`{directions.method}` and others), the strongest first. The distance is that "
        "between the mean latents of images with and without the attribute, in standard deviations of one latent, what "
        "chance adds taken off; an amount of 1 moves by that, times the gain.\n",
        f"| attribute | images with it | without | distance | gain |{' turned | drift |' if judged else ''}",
        f"|---|---|---|---|---|{'---|---|' if judged else ''}",
    ]
    turned = {} if judged is None else judged.attributes.get(directions.method, {})
    for row in order:
        name = directions.names[row]
        n = counts.get(name, {})
        cells = [name, n.get("with", ""), n.get("without", ""), f"{found[row]:.2f}", f"{directions.gains[row]:.1f}"]
        cells += _turned(turned.get(name, Turned(None, None))) if judged else []
        lines.append(f"| {' | '.join(map(str, cells))} |")
    return "\n".join([*lines, "", *([] if judged is None else [_judged(judged)])])


def _turned(one: Turned) -> list[str]:
    return [
        "" if one.success is None else f"{one.success:.0%}",
        "" if one.drift is None else f"{one.drift:.3f}",
    ]


def _judged(judged: Judged) -> str:
    """Returns an explanation of the metrics, and the means of all methods."""
    rows = [f"| `{method}` | {' | '.join(_turned(means))} |" for method, means in judged.means.items()]
    return "\n".join(
        [
            f"Turned: of {judged.images:,} images ({judged.split}), edited by {judged.amount:g}, the share in which a "
            "classifier then sees the attribute the other way round, among those that it had seen rightly. Drift: by "
            "how much, on average, its probability of each other attribute changes. It has learned from other images "
            "than the directions were made from, and than those that were edited.\n",
            "| method | turned, mean over the attributes | drift |",
            "|---|---|---|",
            *rows,
            "",
        ]
    )


def _limits(directions: Directions | None) -> str:
    lines = [
        "## Limits\n",
        "- The model knows nothing but its training images: of others the likelihood may be high all the same, and "
        "edits mean little.",
        "- Bits/dim compare only with figures of the same images, size, bits and preprocessing.",
    ]
    if directions is not None:
        lines.append(
            "- A direction is a difference of means: what occurs together in the data moves together. Labels "
            "are those of the data set, whoever gave them; they say nothing about a person."
        )
    return "\n".join([*lines, ""])


def _licence(card: Card, licence: str | None) -> str:
    given = "None is named.\n" if licence is None else f"`{licence}`\n"
    of_data = TERMS.get(str(card.data["name"]), "The terms of the training data hold for what is made from them.")
    return f"## Licence\n\n{given}\n{of_data}\n"
