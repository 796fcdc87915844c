"""The pages of the commands that change pictures, and of those that find and judge the changes."""

from glow_app.cli.pages.page import Page
from glow_app.config.editing import DirectionsConfig, EditConfig, JudgeConfig, RestoreConfig

EDITING: dict[str, Page] = {
    "directions": Page(
        DirectionsConfig,
        "The attribute vectors of a trained model, which glow-edit, glow-demo and glow-judge need.",
        "All attributes of the data set in one pass, by three methods. Writes directions/ in the run's folder. "
        "Amount 1 is the distance between images without and with the attribute.",
        (
            ("glow-directions checkpoint=runs/...", "all training images"),
            (
                "glow-directions checkpoint=runs/... orthogonal_to=Male,Young",
                "directions that leave these two unchanged",
            ),
            ("glow-directions checkpoint=runs/... levels=2,3 output=coarse", "without the finest level"),
            (
                "glow-directions checkpoint=runs/... data=folder data.root=/data/mine data.attributes=/data/mine.csv",
                "attributes of your own",
            ),
            (
                "glow-directions checkpoint=runs/... positive=/data/with negative=/data/without name=Glasses",
                "one attribute, from two folders of pictures",
            ),
        ),
        (
            "checkpoint",
            "split",
            "n_images",
            "positive",
            "negative",
            "name",
            "calibration",
            "orthogonal_to",
            "levels",
            "batch_size",
            "output",
        ),
    ),
    "edit": Page(
        EditConfig,
        "More or less of an attribute in a picture.",
        "Needs directions, from glow-directions or shipped with the model. Pictures are files, folders, numbers of "
        "images of the data set, or samples of the model. Writes the edited images, before and after, strips, grids "
        "and animations.",
        (
            ("glow-edit checkpoint=runs/... images=me.jpg edit='{Smiling: 0.8}'", "a smile"),
            (
                "glow-edit checkpoint=runs/... images=me.jpg edit='{Smiling: 0.8, Young: -0.5}' align=true paste=true",
                "two at once, in a photo of any size",
            ),
            ("glow-edit images=sample:0,sample:1 sweep=Smiling,Eyeglasses gif=true", "the shipped model: all amounts"),
            ("glow-edit checkpoint=runs/... images=0 grid=Smiling,Young orthogonal_to=Male", "two against each other"),
            ("glow-edit checkpoint=runs/... images=me.jpg measure=true", "how much of each attribute it has"),
        ),
        (
            "checkpoint",
            "images",
            "align",
            "edit",
            "sweep",
            "amounts",
            "grid",
            "paste",
            "zoom",
            "method",
            "orthogonal_to",
            "levels",
            "output",
        ),
    ),
    "restore": Page(
        RestoreConfig,
        "Completes pictures: fills in what is missing, takes noise away, or adds detail.",
        "Needs one of mask, noise and scale. Draws answers from the model's own distribution, given what was seen; "
        "pixels that a mask leaves stay as they are. Writes every answer, all of a picture side by side, a strip of "
        "the way there, and a JSON file.",
        (
            ("glow-restore images=sample:0,sample:1 mask=right", "samples of the shipped model"),
            ("glow-restore checkpoint=runs/... images=me.jpg mask=scratch.png align=true n=4", "four answers"),
            ("glow-restore images=sample:2 mask=random:0.9 temperature=0.7", "nine of ten pixels are missing"),
            ("glow-restore checkpoint=runs/... images=noisy.png noise=0.1", "takes noise away"),
            ("glow-restore checkpoint=runs/... images=small.png scale=4", "adds the detail of 4x4 pixels to each"),
        ),
        ("checkpoint", "images", "mask", "noise", "scale", "n", "steps", "temperature", "align", "zoom", "output"),
    ),
    "judge": Page(
        JudgeConfig,
        "Measures edits with a classifier that has seen neither the directions' images nor the edited ones.",
        "Needs the output of glow-directions. Measures how many edits change the classifier's prediction, how much "
        "other attributes drift, and, on drawn faces, how much changes where nothing should. Writes judge.json.",
        (
            ("glow-judge checkpoint=runs/...", "all methods and attributes, 500 images"),
            ("glow-judge checkpoint=runs/... attributes=Smiling,Eyeglasses", "two attributes"),
            ("glow-judge checkpoint=runs/... methods=balanced amount=1.5", "one method, a larger amount"),
            ("glow-judge checkpoint=faces64 n_images=100 judge_examples=10000", "a shipped model, quick and rough"),
            ("glow-judge checkpoint=runs/... directions=coarse output=coarse/judge", "other directions"),
        ),
        ("checkpoint", "attributes", "methods", "amount", "n_images", "judge_examples", "directions", "output"),
    ),
}
"""Command -> its page, see :data:`glow_app.cli.pages.commands.PAGES`."""
