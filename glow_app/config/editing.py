"""The options of commands that change pictures by their latents; see :mod:`glow_app.config.commands`."""

from dataclasses import dataclass

from glow_app.config.commands import METHODS, PhotosConfig, UseConfig
from glow_app.config.option import option, path_option


@dataclass
class InterpolateConfig(PhotosConfig):
    """All options of ``glow-interpolate``."""

    images: list[str] | None = path_option(
        "files, numbers of images of the data set, or samples, sample:0; two or more, four for a grid"
    )
    split: str = option("split that the numbers refer to", choices=("train", "val", "test"))
    steps: int = option("images from one to the next, both included", at_least=2, at_most=1000)
    path: str = option("straight, as published, or along the sphere", choices=("linear", "spherical"))
    layout: str = option("strip: from each to the next; grid: between four corners", choices=("strip", "grid"))
    label: str | None = path_option("class of a conditional model, name or number")
    frame_ms: int = option("milliseconds per frame of the animation", at_least=20, at_most=10_000)


@dataclass
class DirectionsConfig(UseConfig):
    """All options of ``glow-directions``."""

    split: str = option("split of the data set", choices=("train", "val", "test"))
    first: int = option("number of the first image", at_least=0)
    n_images: int = option("images, from the first on; 0: all", at_least=0)
    shrinkage: float | None = option(
        "shrinkage of the discriminant's covariance towards a multiple of I; null: estimated", at_least=0, at_most=1
    )
    calibration: int = option(
        "training examples of the classifier that measures amount 1; 0: amounts are distances in the latents",
        at_least=0,
    )
    orthogonal_to: list[str] = option("attributes whose directions are projected out of all others")
    levels: list[int] | None = option("levels that a direction may change, 1 being the finest; null: all")
    positive: str | None = path_option("folder of pictures with the attribute name, in place of a data set; null: none")
    negative: str | None = path_option("folder of pictures without it")
    name: str | None = option("name of the attribute that positive and negative show")


@dataclass
class EditConfig(PhotosConfig):
    """All options of ``glow-edit``."""

    directions: str | None = path_option("folder written by glow-directions; null: the model's own")
    method: str = option("kind of direction", choices=METHODS)
    images: list[str] | None = path_option("files, folders, numbers of images of the data set, or samples, sample:0")
    split: str = option("split that the numbers refer to", choices=("train", "val", "test"))
    edit: dict[str, float] | None = option("attribute: amount; 1 is the distance between the two class means")
    sweep: list[str] | None = option("attributes to show at all amounts, one strip each")
    amounts: list[float] = option("amounts of a sweep or grid")
    limit: bool = option("make edits that go too far for a natural picture at the largest amounts that do not")
    grid: list[str] | None = option("two attributes to change together")
    gif: bool = option("also an animation of each sweep")
    paste: bool = option("also each photo at its own size with the change in it")
    measure: bool = option("print how much of each attribute an image has: 0 and 1 are the two class means")
    orthogonal_to: list[str] = option("attributes whose directions are projected out of the others")
    levels: list[int] | None = option("levels that an edit may change, 1 being the finest; null: all")
    label: str | None = path_option("class of a conditional model, name or number")
    frame_ms: int = option("milliseconds per frame of an animation", at_least=20, at_most=10_000)


@dataclass
class RestoreConfig(PhotosConfig):
    """All options of ``glow-restore``."""

    images: list[str] | None = path_option("files, folders, numbers of images of the data set, or samples, sample:0")
    split: str = option("split that the numbers refer to", choices=("train", "val", "test"))
    mask: str | None = path_option(
        "what is missing: left, right, top, bottom, centre, random:0.5 (that share), or a file, white where it is"
    )
    noise: float | None = option(
        "standard deviation of the noise to take away; white is 1, black 0", at_least=0.02, at_most=1
    )
    scale: int | None = option("side of the squares of pixels of which only the means are seen", at_least=2)
    n: int = option("answers for each image", at_least=1, at_most=1000)
    steps: int = option("steps of the search for an answer", at_least=10, at_most=10_000)
    temperature: float = option(
        "temperature of the distribution that answers are drawn from; 1: the model's own", above=0, at_most=100
    )
    label: str | None = path_option("class of a conditional model, name or number")


@dataclass
class JudgeConfig(UseConfig):
    """All options of ``glow-judge``."""

    directions: str | None = path_option("folder written by glow-directions; null: the model's own")
    methods: list[str] = option("kinds of direction to compare")
    attributes: list[str] | None = option("attributes to edit; null: all")
    judge_split: str = option("split that the classifier learns from", choices=("train", "val", "test"))
    judge_first: int = option("number of the first image it learns from", at_least=0)
    judge_images: int = option("images it learns from, from the first on; 0: all", at_least=0)
    judge_examples: int = option("training examples of the classifier; images repeat", at_least=64)
    edit_split: str = option("split of the edited images", choices=("train", "val", "test"))
    edit_first: int = option("number of the first edited image", at_least=0)
    n_images: int = option("edited images, from the first on; 0: all", at_least=0)
    amount: float = option("amount of every edit; 1 is the distance between the two class means", above=0)
    curve_images: int = option("images of each attribute whose edits are measured at many amounts; 0: none", at_least=0)
    curve_attributes: list[str] | None = option(
        "attributes of these; null: Smiling, Eyeglasses, Male, Young, or else the first four of attributes"
    )
    success: float = option("share of edits that succeed, where methods are compared", at_least=0.01, at_most=0.99)
