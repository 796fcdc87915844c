"""``faces64``: a model of photographs, celeba64_faces at 64x64, small enough to be given away.

L=4 K=16 width 128, 6.6M parameters, at most 16 MB in bfloat16. Trained for a given time on mirrored faces, validated on
people of whom it has seen none; of all validations, the best one's weights are taken.
"""

import json
from pathlib import Path
from typing import Any

from benchmarks.gpu.data import unpack_faces
from benchmarks.gpu.findings import card, curve, evaluation, newest
from benchmarks.gpu.work import Plan, Stage, Work

ATTRIBUTES = "Smiling,Eyeglasses"
TEMPERATURES = "0.5,0.6,0.7,0.8,0.9,1.0"

MODEL = (
    "model=small", "model.n_levels=4", "model.n_steps=16", "trainer=gpu", "trainer.batch_size=64", "optim.lr=1e-3",
    "optim.warmup_images=32000", "validate_every=1500",
)  # fmt: skip

TINY = (
    "model=tiny", "model.n_levels=2", "model.n_steps=1", "model.width=8", "trainer.batch_size=8",
    "optim.warmup_images=16", "validate_every=4", "init_images=16",
)  # fmt: skip


def data(work: Work) -> dict[str, Any]:
    """Unpacks."""
    unpack_faces(work.packed / "faces.zip", work.folder)
    return {}


def of_faces(work: Work) -> list[str]:
    """Options that choose the data."""
    root = work.folder / "celeba64_faces"
    return [
        "data=celeba", f"data.root={root}", "data.crop=null", "data.subset=true", "data.validation_identities=10",
    ]  # fmt: skip


def training(work: Work) -> dict[str, Any]:
    """Trains, or goes on."""
    work.command(
        "train", "name=faces64", "resume=auto", *of_faces(work), *(TINY if work.rehearsal else MODEL),
        "data.flip=true", f"max_seconds={work.training}", "temperatures=[0.7]", "samples_every=1000000",
        "checkpoint_every=1000000", "checkpoint_minutes=3",
    )  # fmt: skip
    run = newest("runs/faces64/*", work.folder)
    batch = 8 if work.rehearsal else 64
    last = card(run)["step"]
    return {"steps": last, "images_seen": batch * last, "validation": curve(run)}


def best(work: Work) -> dict[str, Any]:
    """Early stopping: exports again from the checkpoint of the best validation, where that is not the last."""
    run = newest("runs/faces64/*", work.folder)
    step, bits = min(curve(run), key=lambda validation: validation[1])
    if step != card(run)["step"]:
        checkpoint = run / "checkpoints" / f"step_{step:08d}.ckpt"
        work.command("train", f"resume={checkpoint}", "max_seconds=null", f"max_steps={step}")
    return {"step": card(run)["step"], "val/bits_per_dim": bits}


def export(work: Work) -> dict[str, Any]:
    """The weights in bfloat16, and what they reach on the people of the validation."""
    run, folder = newest("runs/faces64/*", work.folder), exported(work)
    work.command("export", f"checkpoint={run}", "storage=bf16", f"output={folder}")
    n = 8 if work.rehearsal else 1000
    work.command(
        "evaluate", f"checkpoint={folder}", *of_faces(work), "split=val", f"check_images={n}", f"gap_images={n}",
        f"output={work.folder / 'evaluate'}",
    )  # fmt: skip
    return {"bytes": (folder / "model.safetensors").stat().st_size, **evaluation(work.folder / "evaluate")}


def samples(work: Work) -> dict[str, Any]:
    """Grids at several temperatures."""
    n, output = 8 if work.rehearsal else 64, work.folder / "sample"
    work.command(
        "sample", f"checkpoint={exported(work)}", f"n={n}", f"temperature={TEMPERATURES}", f"output={output}"
    )  # fmt: skip
    work.bring_pictures("samples.png", sorted(output.glob("T*.png")))
    return {}


def edits(work: Work) -> dict[str, Any]:
    """Samples along the directions of two attributes."""
    folder, few = exported(work), work.rehearsal
    vectors, drawn, strips = (work.folder / name for name in ("directions", "drawn", "strips"))
    calibration = 64 if few else 40000
    work.command(
        "directions", f"checkpoint={folder}", *of_faces(work), f"calibration={calibration}", f"output={vectors}",
    )  # fmt: skip
    work.command("sample", f"checkpoint={folder}", f"n={2 if few else 6}", "format=png", f"output={drawn}")
    images = ",".join(map(str, pngs(drawn)))
    work.command(
        "edit", f"checkpoint={folder}", *of_faces(work), f"directions={vectors}", f"images={images}",
        f"sweep={ATTRIBUTES}", f"output={strips}",
    )  # fmt: skip
    work.bring_pictures("strips.png", pngs(strips))
    return json.loads((vectors / "directions.json").read_text())


def weights(work: Work) -> dict[str, Any]:
    """The exported folder."""
    return work.bring_folder(exported(work))


def exported(work: Work) -> Path:
    """Where the weights in bfloat16 are."""
    return work.folder / "faces64_bf16"


def pngs(folder: Path) -> list[Path]:
    """All of a folder and below."""
    return sorted(folder.rglob("*.png"))


STAGES = (
    Stage("data", 15, data),
    Stage("training", 45, training, after="data"),
    Stage("best", 5, best, after="training"),
    Stage("export", 30, export, after="best"),
    Stage("weights", 5, weights, after="export"),
    Stage("samples", 20, samples, after="export"),
    Stage("edits", 60, edits, after="export"),
)

PLAN = Plan(STAGES, STAGES, training=420.0, overhead=120.0)
