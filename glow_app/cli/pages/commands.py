"""The parts of ``--help`` that are not in the option schema: purpose, examples, most used keys."""

from glow_app.cli.pages.editing import EDITING
from glow_app.cli.pages.page import Page
from glow_app.config.commands import (
    CompareConfig,
    DemoConfig,
    EvaluateConfig,
    ExportConfig,
    Plot2dConfig,
    ReportConfig,
    SampleConfig,
    ScoreConfig,
)
from glow_app.config.editing import InterpolateConfig
from glow_app.config.train import PrepareConfig, TrainConfig

PAGES = {
    "prepare": Page(
        PrepareConfig,
        "Decodes a data set once, in parallel, into a memory-mapped cache of pixels.",
        "Training does so itself if necessary. Resumes where it was interrupted. Ends with a data card: counts, "
        "attribute rates, files left out, and a contact sheet of each split.",
        (
            ("glow-prepare", "the default: 12,000 drawn faces, nothing to download"),
            ("glow-prepare data=folder data.root=/data/pictures data.image_size=64", "any folder of pictures"),
            ("glow-prepare data=celeba data.root=/data/celeba", "CelebA as it was downloaded, unpacked or not"),
            ("glow-prepare data=lsun data.root=/data/lsun data.category=tower splits=train,test", "two splits only"),
            ("glow-prepare data=celeba data.root=/data/celeba verify=true", "reads a cache again and compares digests"),
        ),
        ("data.root", "data.image_size", "data.n_bits", "data.cache_folder", "splits", "workers", "verify"),
    ),
    "train": Page(
        TrainConfig,
        "Trains a Glow; without options, on faces that it draws itself, in minutes on a laptop.",
        "Writes runs/<name>/<date_time>/ with the configuration, metrics.csv, curves, sample grids, checkpoints to "
        "resume from, and model/, which all other commands accept as checkpoint=. Ctrl-C ends it with a checkpoint.",
        (
            ("glow-train", "drawn faces, a tiny model, the CPU"),
            ("glow-train data=folder data.root=/data/pictures model=small max_steps=20000", "your own pictures"),
            ("glow-train experiment=celeba64 data.root=/data/celeba", "CelebA at 64x64 on a GPU of 24 GB"),
            ("glow-train experiment=celeba64 data.root=/data/celeba estimate=true", "how long that will take"),
            ("glow-train resume=auto checkpoint_minutes=5", "resumes the newest run like this one, or starts one"),
        ),
        (
            "data.root",
            "data.image_size",
            "max_steps",
            "max_seconds",
            "trainer.batch_size",
            "trainer.precision",
            "optim.lr",
            "model.n_levels",
            "model.n_steps",
            "model.width",
            "model.memory",
            "validate_every",
            "resume",
            "estimate",
            "seed",
        ),
    ),
    "distill": Page(
        TrainConfig,
        "Trains a flow whose samples are fast to have the density of its teacher: a flow, or a formula.",
        "It minimises KL(student || teacher) on samples of the student, and needs no data. Writes a run as glow-train "
        "does, and distilled.png, teacher and student side by side; prints the KL and how much faster samples are. A "
        "continuous flow learns the paths of another, straightened, and samples in a step or two. "
        "All other options are those of glow-train.",
        (
            ("glow-distill teacher=runs/... model=iaf", "an IAF from a MAF"),
            ("glow-distill teacher=faces64 model=glow trainer.batch_size=16", "a smaller Glow from the shipped one"),
            ("glow-distill teacher=runs/... model=flow_matching", "straight paths from a continuous flow"),
            ("glow-distill teacher=u1 model=planar model.n_layers=8", "an energy, known but for its integral"),
            ("glow-distill resume=runs/... max_steps=4000", "resumes a student"),
        ),
        (
            "teacher",
            "max_steps",
            "trainer.batch_size",
            "optim.lr",
            "model.width",
            "resume",
            "seed",
        ),
    ),
    "evaluate": Page(
        EvaluateConfig,
        "Bits per dimension of a trained model, with their standard error, and checks of them.",
        "By level and kind of layer; exactness of the inverse; conditioning; the gap to training images; lossless "
        "codecs on the same pixels; with quality=true, how near samples are to real images. Writes evaluation.json and "
        "per_image.csv.",
        (
            ("glow-evaluate checkpoint=faces64", "a shipped model, all test images, one draw of the noise"),
            ("glow-evaluate checkpoint=runs/... split=val n_images=100", "a quick look"),
            ("glow-evaluate checkpoint=runs/... importance_samples=10", "the tighter bound beside it"),
            ("glow-evaluate checkpoint=runs/... worst=16", "and a picture of the images with the most bits"),
            ("glow-evaluate compare=runs/a,runs/b", "the paired difference of two models"),
        ),
        (
            "checkpoint",
            "compare",
            "split",
            "n_images",
            "importance_samples",
            "quality.measure",
            "batch_size",
            "precision",
            "output",
        ),
    ),
    "score": Page(
        ScoreConfig,
        "How probable images are, and how like the training images: to sort them, to find others.",
        "Bits/dim with its error, norms of the latents, the final scale, typicality, and bits/dim minus those of "
        "codecs or of a second model. Writes scores.csv, sorted, scores.json, and ends.png: the images of both ends. "
        "Takes any number of images in constant memory; resumes where it was interrupted.",
        (
            ("glow-score checkpoint=faces64 images=/data/pictures", "a folder of pictures, by the shipped model"),
            ("glow-score checkpoint=runs/... split=train clean=true show=32", "what to clean training images of"),
            (
                "glow-score checkpoint=runs/... against=mnist:/data/mnist,noise",
                "how well each score tells other images apart",
            ),
            ("glow-score checkpoint=runs/... split=val by=minus_png calibrate=true fpr=0.01", "saves thresholds"),
            ("glow-score checkpoint=runs/... images=new by=minus_png verdict=true", "and says what is above them"),
        ),
        (
            "checkpoint",
            "images",
            "split",
            "by",
            "show",
            "clean",
            "draws",
            "codecs",
            "background",
            "against",
            "calibrate",
            "fpr",
            "verdict",
            "output",
        ),
    ),
    "report": Page(
        ReportConfig,
        "A page that shows a run: one HTML file that needs no other and no network.",
        "Curves, samples over time and by temperature, where the bits are, reconstruction, conditioning, nearest "
        "training images, edits, quality, scores, configuration and machine. What does not apply is left out, and the "
        "page says why. Writes report/report.html in the run's folder; glow-train makes it with report=true.",
        (
            ("glow-report run=runs/...", "everything, with 500 test images"),
            ("glow-report run=runs/... n_images=0 examples=40000", "all test images, better classifiers: slower"),
            ("glow-report run=runs/... n_images=100 examples=0", "quick: few images, no quality of samples"),
            ("glow-report run=runs/... temperatures=0.6,0.8,1 output=page", "other temperatures, another folder"),
            ("glow-report run=runs/... data=folder data.root=/data/faces", "measured on other images"),
        ),
        ("run", "n_images", "temperatures", "examples", "batch_size", "device", "output"),
    ),
    "sample": Page(
        SampleConfig,
        "New pictures from a trained model.",
        "Image number i is a function of seed, i and temperature only. Writes a grid, or any number of PNG files or "
        "rows of an npz in constant memory; resumes where it was interrupted.",
        (
            ("glow-sample", "64 pictures from the shipped model, at temperature 0.7"),
            ("glow-sample checkpoint=runs/... temperature=0,0.5,0.7,1", "one figure of several temperatures"),
            ("glow-sample checkpoint=runs/... level_temperatures=1,0.7,0.5", "each level its own, the finest first"),
            ("glow-sample checkpoint=runs/... n=50000 format=npz", "many, for statistics"),
            ("glow-sample checkpoint=runs/... n=16 neighbours=true", "beside the nearest training images"),
        ),
        ("checkpoint", "n", "temperature", "level_temperatures", "format", "seed", "first", "label", "walk", "output"),
    ),
    "interpolate": Page(
        InterpolateConfig,
        "From one picture to another, through the latents.",
        "A chain of pictures, or a grid between four. Pictures are files of any size, numbers of images of the "
        "data set, or samples of the model. Writes a PNG and a GIF, and an MP4 if ffmpeg is installed.",
        (
            ("glow-interpolate checkpoint=runs/... images=me.jpg,you.png", "two files"),
            ("glow-interpolate images=sample:0,sample:1 steps=12", "two samples, by the shipped model"),
            ("glow-interpolate checkpoint=runs/... images=0,1,2,3 layout=grid", "between four corners"),
            ("glow-interpolate checkpoint=runs/... images=me.jpg,17 path=spherical", "along the sphere"),
            (
                "glow-interpolate checkpoint=runs/... images=0,1 split=train frame_ms=60",
                "training images, faster",
            ),
        ),
        ("checkpoint", "images", "align", "steps", "path", "layout", "zoom", "split", "frame_ms", "output"),
    ),
    **EDITING,
    "export": Page(
        ExportConfig,
        "Exports a model for others to use.",
        "Writes a folder of safetensors, JSON and a model card, which every command accepts as checkpoint= and which "
        "can be uploaded to the Hugging Face hub; or only the decoder, for torch.export or ONNX.",
        (
            ("glow-export checkpoint=runs/... output=my_faces", "weights, card, samples, directions"),
            (
                "glow-export checkpoint=runs/... output=my_faces storage=bf16 license=mit",
                "half the size, with a licence",
            ),
            ("glow-export checkpoint=runs/... output=my_faces directions=coarse", "other directions"),
            ("glow-export checkpoint=runs/... output=my_faces format=onnx", "the decoder for onnxruntime"),
            ("glow-export checkpoint=runs/... output=my_faces format=torch", "the decoder for torch.export.load"),
        ),
        ("checkpoint", "output", "format", "storage", "license", "directions", "temperature", "seed"),
    ),
    "plot2d": Page(
        Plot2dConfig,
        "Draws a flow of points in the plane: samples, density, the warped grid of its latents.",
        "For models of experiment=plane: glow-train experiment=plane data=rings. Prints the integral of the density "
        "over the square, and compares the flow with the known entropy of the data. Writes a PNG.",
        (
            ("glow-plot2d checkpoint=runs/...", "data, samples, log-density, grid"),
            ("glow-plot2d checkpoint=runs/... film=true", "and a GIF: the couplings at work one by one"),
            ("glow-plot2d checkpoint=runs/... density=linear cells=1000", "the density itself, on a finer grid"),
            ("glow-plot2d checkpoint=runs/... temperature=0.5 n=20000", "samples nearer to the mode, and more of them"),
            ("glow-plot2d checkpoint=runs/... side=30 lines=61", "a wider square; a finer grid of latents"),
        ),
        ("checkpoint", "n", "temperature", "side", "cells", "density", "lines", "film", "output"),
    ),
    "demo": Page(
        DemoConfig,
        "A page on which sliders change pictures.",
        "Only this machine can see it; Ctrl-C ends it. Needs pip install 'glow_app[demo]', and for its sliders the "
        "output of glow-directions, which the shipped model includes.",
        (
            ("glow-demo", "opens a browser, with the shipped model"),
            ("glow-demo checkpoint=runs/... browser=false port=8000", "prints the address instead"),
            ("glow-demo checkpoint=runs/... method=balanced", "another kind of direction"),
            ("glow-demo checkpoint=runs/... pictures=30 split=val", "more pictures to begin with"),
            ("glow-demo checkpoint=runs/... precision=bf16 device=cpu", "faster for a large model"),
        ),
        ("checkpoint", "directions", "method", "pictures", "port", "browser", "upload_mb", "device", "precision"),
    ),
    "compare": Page(
        CompareConfig,
        "Compares variants of a model, and tests whether their differences are more than chance.",
        "Accepts any runs that validated on the same images. Runs that differ only in their seed are one variant; "
        "other differences name the variants. Writes variants.png, variants.md and variants.json.",
        (
            ("glow-compare runs=runs/ablation/2026-01-01_12-00-00", "all runs of a sweep"),
            ("glow-compare runs=runs/drawn_faces", "all runs of a name"),
            ("glow-compare runs=runs/...,runs/...", "some runs"),
            ("glow-compare runs=runs/... output=figures", "figure and tables elsewhere"),
            ("glow-compare runs=runs/drawn_faces,runs/mine debug=true", "with a traceback, if it fails"),
        ),
        ("runs", "output"),
    ),
}
"""The page of every command, by the name of its file in ``conf/``."""
