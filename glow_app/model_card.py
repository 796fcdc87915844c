"""The page that stands before an exported model: ``README.md``, in the layout of the Hugging Face hub."""

from glow_app.card import Card
from glow_app.evaluation.directions import Directions
from glow_app.evaluation.strength import strengths

SPLITS = (("test", "test"), ("val", "validation"))


def model_card(
    card: Card, name: str, n_parameters: int, made_by: str | None, directions: Directions | None, temperature: float
) -> str:
    """Markdown: what the model is, what it reached, how it was made, how to use it, and what not to expect of it.

    Args:
        card: of the model.
        name: of the folder.
        n_parameters: of the model.
        made_by: the command that trained it, if that is known.
        directions: that come with it, if any.
        temperature: of the samples in ``samples.png``.
    """
    parts = [_front(card), f"# {name}\n", _summary(card), f"![Samples at temperature {temperature:g}](samples.png)\n"]
    parts += [_facts(card, n_parameters), _origin(card, made_by), _use(card, name, directions)]
    if directions is not None:
        parts.append(_attributes(directions))
    return "\n".join([*parts, _limits(directions)])


def _front(card: Card) -> str:
    tags = "\n".join(f"- {tag}" for tag in ("glow", "normalizing-flow", "pytorch", str(card.data["name"])))
    return f"---\nlibrary_name: glow_app\npipeline_tag: unconditional-image-generation\ntags:\n{tags}\n---\n"


def _summary(card: Card) -> str:
    channels, height, width = card.image_shape
    return (
        f"A Glow (Kingma & Dhariwal 2018): an invertible model of {channels}x{height}x{width} images with exact "
        f"likelihoods, trained on `{card.data['name']}`.\n"
    )


def _facts(card: Card, n_parameters: int) -> str:
    model = card.model
    rows = [
        ("levels L, steps K, width", f"{model.n_levels}, {model.n_steps}, {model.width}"),
        ("coupling, scale, permutation", f"{model.coupling}, {model.scale}, {model.permutation}"),
        ("parameters", f"{n_parameters:,}"),
        ("bits per subpixel", str(card.n_bits)),
        ("data", f"`{card.data['name']}`: {card.preprocessing}"),
        ("weights", f"{card.weights}, step {card.step:,}"),
    ]
    if card.class_names:
        rows.append(("classes", ", ".join(card.class_names)))
    for split, words in SPLITS:
        bits, error = card.metrics.get(f"{split}/bits_per_dim"), card.metrics.get(f"{split}/standard_error")
        if bits is not None:
            rows.append((f"bits/dim, {words}", f"{bits:.4f}" + ("" if error is None else f" ± {error:.4f}")))
    return "\n".join(["| | |", "|---|---|", *(f"| {key} | {value} |" for key, value in rows), ""])


def _origin(card: Card, made_by: str | None) -> str:
    versions = ", ".join(f"{name} {number}" for name, number in card.versions.items())
    how = "How it was trained is not known.\n" if made_by is None else f"```sh\n{made_by}\n```\n"
    return f"## How it was made\n\n{how}\nWith {versions}.\n" if versions else f"## How it was made\n\n{how}"


def _use(card: Card, name: str, directions: Directions | None) -> str:
    lines = [
        "import glow_app",
        "",
        f'model = glow_app.load("{name}")  # this folder, or hf://owner/name',
        f"images = model.sample(16, temperature=0.7, seed=0{', label=0' if card.class_names else ''})",
    ]
    if not card.class_names:
        lines.append('latents = model.encode("me.jpg")  # tensors of N(0, I) numbers, finest first')
        lines.append("again = model.decode(latents)  # the same pixels")
    if directions is not None:
        lines.append(f'directions = glow_app.load_directions("{name}")')
        lines.append(f'edited = model.edit("me.jpg", directions, {{"{directions.names[0]}": 1.0}})')
    code = "\n".join(lines)
    return f"## Use\n\n```python\n{code}\n```\n\nOr `glow-demo checkpoint={name}`, a page with sliders.\n"


def _attributes(directions: Directions) -> str:
    counts = directions.account.get("counts", {})
    found = strengths(directions).tolist()
    order = sorted(range(len(directions.names)), key=lambda row: -found[row])
    lines = [
        "## Attributes\n",
        f"Directions in the latents (`{directions.method}` and others), the strongest first. The distance is that "
        "between the mean latents of images with and without the attribute, in standard deviations of one latent, what "
        "chance adds taken off; an amount of 1 moves by that, times the gain for adding (removing).\n",
        "| attribute | images with it | without | distance | gain |",
        "|---|---|---|---|---|",
    ]
    for row in order:
        name = directions.names[row]
        n = counts.get(name, {})
        adding, removing = directions.gains[row].tolist()
        cells = [name, n.get("with", ""), n.get("without", ""), f"{found[row]:.2f}", f"{adding:.1f} ({removing:.1f})"]
        lines.append(f"| {' | '.join(map(str, cells))} |")
    return "\n".join([*lines, ""])


def _limits(directions: Directions | None) -> str:
    lines = [
        "## Limits\n",
        "- The model knows nothing but its training images: of others the likelihood may be high all the same, and "
        "edits mean little.",
        "- Bits/dim compare only with figures of the same images, size, bits and preprocessing.",
        "- The terms of the training data hold for what is made from them.",
    ]
    if directions is not None:
        lines.append(
            "- A direction is a difference of means: what occurs together in the data moves together. Labels "
            "are those of the data set, whoever gave them; they say nothing about a person."
        )
    return "\n".join([*lines, ""])
