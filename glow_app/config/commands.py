"""The schema of the commands that use a trained model; see :mod:`glow_app.config.train`."""

import re
from dataclasses import dataclass

from glow_app.config.data import DataConfig
from glow_app.config.option import option, path_option

METHODS = ("mean_difference", "balanced", "discriminant")
"""Ways to find the direction of an attribute, see :mod:`glow_app.latents.directions`."""

SAMPLE = re.compile(r"sample:(\d+)")
"""The name of a sample where pictures are named: ``sample:3``."""

MASKS = ("left", "right", "top", "bottom", "centre")
"""Names of masks, of what is missing; see :mod:`glow_app.latents.masks`."""

RANDOM_MASK = re.compile(r"random:(\d+\.?\d*|\.\d+)")
"""The name of a mask of random pixels: ``random:0.5``."""


CODECS = ("PNG", "WebP")
"""Names of lossless codecs, see :mod:`glow_app.scores.complexity`."""


@dataclass
class ComputeConfig:
    """Options of every command that computes with a trained model. ``data`` defaults to the model's own data set."""

    data: DataConfig
    device: str = option("where to compute; auto: on a GPU if there is one", choices=("auto", "cpu", "cuda"))
    precision: str = option("precision of the coupling networks; the rest is always float32", choices=("fp32", "bf16"))
    solver: str | None = option(
        "continuous flows: method and steps, such as euler:20, or method and tolerance, such as dopri5:1e-4; null: as "
        "trained"
    )
    seed: int = option("seed of the noise", at_least=0, at_most=2**63 - 1)
    debug: bool = option("show tracebacks")


@dataclass
class OpenConfig(ComputeConfig):
    """Options of every command that opens any trained model."""

    checkpoint: str | None = path_option(
        "folder of a run, or of an exported model; or a shipped model's name, or hf://owner/name"
    )


@dataclass
class UseConfig(OpenConfig):
    """Further options of every command that computes many images and writes files."""

    batch_size: int = option("images per batch", at_least=1)
    output: str | None = path_option("output folder; null: inside the run's folder, or in outputs/ if there is no run")


@dataclass
class QualityConfig:
    """The quality of samples."""

    measure: bool = option("compare samples with images that were not learned from; in short, quality=true")
    samples: int | None = option(
        "images in each set that is compared; null: half of the split's images, at most 2,000", at_least=10
    )
    temperature: float = option(
        "temperature of the samples; those of temperature 1 are measured too", at_least=0, at_most=100
    )
    examples: int = option(
        "training examples of the classifier whose features are compared; images repeat", at_least=64
    )
    weights: str | None = path_option(
        "file of InceptionV3's weights, to compare its features; null: those of a classifier trained for that"
    )


@dataclass
class PhotosConfig(UseConfig):
    """Further options of every command that takes photos."""

    align: bool = option("find the face in a photo, and turn, scale and crop the photo as the training images are")
    face: int | None = option(
        "which face to align, where a photo shows several, from left to right; null: the only one", at_least=1
    )
    zoom: int = option("enlargement of the images in what is written; 1: none", at_least=1, at_most=32)


@dataclass
class EvaluateConfig(UseConfig):
    """All options of ``glow-evaluate``."""

    quality: QualityConfig = option("the quality of samples")
    compare: list[str] | None = path_option("two models to compare on the same noise")
    split: str = option("split of the data set", choices=("train", "val", "test"))
    n_images: int = option("images, from the first on; 0: all", at_least=0)
    importance_samples: int = option("draws of the noise for the tighter bound; 1: no such bound", at_least=1)
    check_images: int = option("images to reconstruct, from the first on; 0: all", at_least=0)
    gap_images: int = option("training images for the train-test gap, evenly spaced; 0: no gap", at_least=0)
    worst: int = option("images with the most bits to show in a picture; 0: no picture", at_least=0)


@dataclass
class ScoreConfig(UseConfig):
    """All options of ``glow-score``."""

    images: list[str] | None = path_option("files, and folders of files, in place of a data set")
    split: str = option("split of the data set", choices=("train", "val", "test"))
    n_images: int = option("images, from the first on; 0: all", at_least=0)
    draws: int = option("draws of the noise for each image; with one, bits/dim have no error", at_least=1, at_most=1000)
    codecs: list[str] = option("lossless codecs whose sizes are subtracted; [] is the fastest", choices=CODECS)
    background: str | None = path_option("second model, whose bits/dim are subtracted")
    mean_images: int = option(
        "training images that typicality is measured from, evenly spaced; 0: the mean on the model's card", at_least=0
    )
    by: str = option("score to sort by, and of the verdict, such as minus_png")
    show: int = option("images of each end in the table and the picture; 0: none", at_least=0, at_most=64)
    clean: bool = option("also find broken, constant and bordered images and near-duplicates")
    against: list[str] | None = path_option(
        "other images to tell apart: NAME:FOLDER of a data set, files, folders of files, noise, constant"
    )
    against_split: str = option("split of these data sets", choices=("train", "val", "test"))
    group: int = option("images of a group whose typicality is measured with against", at_least=2)
    calibrate: bool = option("save thresholds of all scores with the model, from images that it did not learn from")
    fpr: float = option("share of such images above a saved threshold", above=0, at_most=0.5)
    verdict: bool = option("say which images are above the saved threshold of the score by")
    label: str | None = path_option("class of a conditional model, name or number, of images without labels")


@dataclass
class SampleConfig(UseConfig):
    """All options of ``glow-sample``.

    ``batch_size`` is rounded up to a multiple of 16: images are always computed in the same groups of 16, so that the
    batch size does not change them.
    """

    n: int = option("images, at each temperature", at_least=1, at_most=10_000_000)
    temperature: list[float] = option(
        "one, or several; 0 is one image, 1 the model's own distribution", at_least=0, at_most=100
    )
    level_temperatures: list[float] | None = option(
        "one for each level, finest first, instead of temperature", at_least=0, at_most=100
    )
    label: str | None = path_option("class of a conditional model, name or number; null: all in turn")
    first: int = option("number of the first image", at_least=0, at_most=10**12)
    format: str = option("one picture, one PNG file per image, or one npz", choices=("grid", "png", "npz"))
    neighbours: bool = option("show the nearest training images beside each sample")
    walk: list[int] | None = option(
        "VAE: two latents, from 0 on, to draw a grid of images by; instead of samples", at_least=0
    )


@dataclass
class ExportConfig(OpenConfig):
    """All options of ``glow-export``."""

    output: str | None = path_option("output folder; null: inside the run's folder, or in outputs/ if there is no run")
    format: str = option(
        "folder: weights, card and directions; torch, onnx: only the decoder", choices=("folder", "torch", "onnx")
    )
    directions: str | None = path_option("folder written by glow-directions; null: the model's own, if there are any")
    temperature: float = option("temperature of the samples on the card", at_least=0, at_most=100)
    storage: str | None = option(
        "dtype of the stored convolution kernels: bf16 halves the file, for some 1e-5 bits/dim; null: unchanged",
        choices=("fp32", "bf16"),
    )
    license: str | None = option("identifier of the model's licence, such as mit; null: none")


@dataclass
class CompareConfig:
    """All options of ``glow-compare``."""

    runs: list[str] | None = path_option(
        "folders of runs or sweeps, or that contain runs; runs that differ only in seed are averaged"
    )
    output: str | None = path_option("output folder; null: compare/ in the first of runs")
    debug: bool = option("show tracebacks")


@dataclass
class Plot2dConfig(OpenConfig):
    """All options of ``glow-plot2d``."""

    n: int = option("points drawn from the data and from the flow", at_least=1, at_most=1_000_000)
    temperature: float = option(
        "temperature of the samples; 1 is the model's own distribution", at_least=0, at_most=100
    )
    side: float = option("side of the square around the origin that is shown and integrated over", above=0, at_most=1e6)
    cells: int = option("cells of the density's grid, along each side", at_least=10, at_most=4000)
    density: str = option("log-density or density", choices=("log", "linear"))
    lines: int = option("lines of the grid over the latents, in each direction", at_least=2, at_most=1000)
    film: bool = option("also an animation, and its stages side by side: the couplings applied one by one")
    frames: int = option("frames of the animation per coupling", at_least=1, at_most=100)
    frame_ms: int = option("milliseconds per frame of the animation", at_least=20, at_most=10_000)
    output: str | None = path_option("output folder; null: inside the run's folder")


@dataclass
class ReportConfig(ComputeConfig):
    """All options of ``glow-report``."""

    run: str | None = path_option("folder of a run")
    n_images: int = option("images that are measured, from the first on; 0: all", at_least=0)
    temperatures: list[float] = option("temperatures of the samples", at_least=0, at_most=100)
    examples: int = option(
        "training examples of the classifiers that measure quality and edits; 0: no quality, and edits by distances",
        at_least=0,
    )
    batch_size: int = option("images per batch", at_least=1)
    output: str | None = path_option("output folder; null: report/ in the run's folder")


@dataclass
class DemoConfig(OpenConfig):
    """All options of ``glow-demo``."""

    directions: str | None = path_option("folder written by glow-directions; null: the model's own")
    method: str = option("kind of direction", choices=METHODS)
    split: str = option("split to choose pictures from", choices=("train", "val", "test"))
    pictures: int = option("images to begin with", at_least=2, at_most=100)
    port: int | None = option("port of the page; null: the first free one from 7860 on", at_least=1024, at_most=65535)
    browser: bool = option("open the page in a browser")
    upload_mb: int = option("largest file that may be uploaded, megabytes", at_least=1, at_most=1000)
