"""What goes to TensorBoard and wandb, that a resumed run repeats nothing, and that none of them can stop a run."""

import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from glow_app.data.sets.drawn_faces import DrawnFaces
from glow_app.training.after_update import AfterUpdate
from glow_app.training.checkpoints.format import checkpoints_of
from glow_app.training.loggers import metrics
from glow_app.training.pictures.interpolations import shown_attribute
from tests.training.loggers.wandb_files import all_records, history, points
from tests.training.loggers.wandb_server import wandb_server
from tests.training.runs import configure, find, smallest, train

ROOT = Path(__file__).parents[3]


def is_picture(name: str) -> bool:
    return name.startswith(("samples/", "interpolation/", "edit/"))


def in_csv(run: Path) -> list[tuple[str, int, float]]:
    rows = metrics.read(run / "metrics.csv")
    return [(key, int(row["step"]), value) for row in rows for key, value in row.items() if key != "step"]


def test_wandb_offline_has_figures_pictures_and_the_configuration(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    run = tmp_path / "run"
    output = train(smallest(tmp_path, "logger=wandb", "temperatures=[0,0.7]"), run)
    logged = points(run)
    figures = sorted(point for point in logged if not is_picture(point[0]))
    assert figures == sorted(in_csv(run))
    assert {key for key, *_ in figures} >= {
        "train/bits_per_dim", "train/lr", "train/gradient_norm", "val/bits_per_dim", "test/bits_per_dim",
    }  # fmt: skip
    pictures = [(key, step) for key, step, _ in logged if is_picture(key)]
    names = ("edit/Smiling", "interpolation/val_0-val_1", "samples/T0.00", "samples/T0.70")
    assert sorted(pictures) == [(name, step) for name in names for step in (4, 8)]
    captions = {key: row[key]["caption"] for row in history(run) for key in row if key in names}
    assert captions["edit/Smiling"] == "Smiling, -1.5 to +1.5, step 8"
    assert captions["samples/T0.70"] == "step 8"
    assert all(row["images"] == 8 * row["step"] for row in history(run))

    told = {item.key: item.value_json for r in all_records(run) if r.HasField("run") for item in r.run.config.update}
    assert '"lr":0.004' in told["optim"].replace(" ", "")
    axes = {r.metric.glob_name: r.metric.step_metric for r in all_records(run) if r.HasField("metric")}
    assert (
        axes["samples/*"] == axes["edit/*"] == axes["interpolation/*"] == axes["train/*"] == axes["speed/*"] == "step"
    )

    assert len(list((run / "wandb").glob("offline-run-*"))) == 1
    assert capfd.readouterr() == ("", "")  # wandb itself says nothing

    command = re.search(r"upload to wandb with\n  (wandb sync .*)\n", output)
    assert command is not None
    program = command[1].replace("wandb sync", f"{sys.executable} -m wandb sync --dry-run")
    result = subprocess.run(program, shell=True, capture_output=True, text=True, timeout=60, check=False)
    assert result.returncode == 0, result.stderr
    assert "offline-run-" in result.stdout + result.stderr


def test_wandb_online_goes_on_with_the_same_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run = tmp_path / "run"
    settings = ["logger=wandb", "logger.mode=online", "test_images=8"]
    with wandb_server() as server:
        monkeypatch.setenv("WANDB_BASE_URL", server.url)
        monkeypatch.setenv("WANDB_API_KEY", "0" * 40)
        output = train(smallest(tmp_path, *settings), run)
        train(smallest(tmp_path, *settings, "max_steps=12"), *find(checkpoints_of(run)[0]))
    ((name, rows),) = server.rows.items()
    assert f"wandb     {server.url}/me/glow_app/runs/{name}\n" in output
    assert "wandb sync" not in output
    logged = [(key, row["step"]) for row in rows for key in row if "/" in key and not is_picture(key)]
    assert len(logged) == len(set(logged))
    assert set(logged) > {(key, step) for key, step, _ in in_csv(run)}
    assert [row["_step"] for row in rows] == list(range(len(rows)))


def test_a_server_that_falls_silent_does_not_hold_up_the_end(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("glow_app.training.loggers.wandb.FINISH_TIMEOUT", 1.0)
    after_update = AfterUpdate.on_train_batch_end
    with wandb_server() as server:
        monkeypatch.setenv("WANDB_BASE_URL", server.url)
        monkeypatch.setenv("WANDB_API_KEY", "0" * 40)

        def silence(*arguments: Any) -> None:
            server.silent.set()
            after_update(*arguments)

        monkeypatch.setattr(AfterUpdate, "on_train_batch_end", silence)
        output = train(smallest(tmp_path, "logger=wandb", "logger.mode=online", "max_steps=4"), tmp_path / "run")
    assert "wandb did not take everything within 1 s" in output
    assert f"\n  wandb sync --include-online {tmp_path / 'run'}/wandb/run-*-" in output
    assert len(points(tmp_path / "run")) == len(in_csv(tmp_path / "run")) + 3  # a sample grid and two strips


@pytest.mark.parametrize("logger", ["wandb", "tensorboard"])
def test_a_resumed_run_repeats_nothing(tmp_path: Path, logger: str) -> None:
    run = tmp_path / "run"
    config = smallest(tmp_path, f"logger={logger}", "test_images=8")
    train(config, run)
    first, _ = checkpoints_of(run)
    ids = [r.run.run_id for r in all_records(run) if r.HasField("run")]
    output = train(smallest(tmp_path, f"logger={logger}", "max_steps=12", "optim.decay=constant"), *find(first))
    if logger == "wandb":
        logged = points(run)
        assert "wandb already has metrics up to step 8" in output
        assert {r.run.run_id for r in all_records(run) if r.HasField("run")} == set(ids)
        assert len(list((run / "wandb").glob("offline-run-*"))) == 2
    else:
        logged = in_tensorboard(run)
        # The first course has left no trace beyond the step from which the second one went on.
        assert sorted(point for point in logged if not is_picture(point[0])) == sorted(as_float32(in_csv(run)))
    keys = [(key, step) for key, step, _ in logged]
    assert len(keys) == len(set(keys))
    assert {step for key, step in keys if key == "samples/T0.70"} == {4, 8, 12}
    assert {step for key, step in keys if key == "val/bits_per_dim"} == {4, 8, 12}


def in_tensorboard(run: Path) -> list[tuple[str, int, float]]:
    events = EventAccumulator(str(run / "tensorboard"), size_guidance={"scalars": 0, "images": 0}).Reload()
    found = [(tag, event.step, event.value) for tag in events.Tags()["scalars"] for event in events.Scalars(tag)]
    return found + [(tag, event.step, 0.0) for tag in events.Tags()["images"] for event in events.Images(tag)]


def as_float32(points: list[tuple[str, int, float]]) -> list[tuple[str, int, float]]:
    import torch

    return [(key, step, torch.tensor(value).item()) for key, step, value in points]


def test_tensorboard_has_figures_pictures_and_hyperparameters(tmp_path: Path) -> None:
    run = tmp_path / "run"
    output = train(smallest(tmp_path, "logger=tensorboard"), run)
    assert sorted(p for p in in_tensorboard(run) if not is_picture(p[0])) == sorted(as_float32(in_csv(run)))
    events = EventAccumulator(str(run / "tensorboard")).Reload()
    assert [event.step for event in events.Images("samples/T0.70")] == [4, 8]
    text = events.Tensors("config/text_summary")[0].tensor_proto.string_val[0].decode()
    assert "    lr: 0.004\n" in text
    hyperparameters = events.summary_metadata["_hparams_/session_start_info"].plugin_data.content
    assert b"optim.lr" in hyperparameters
    assert b"model.width" in hyperparameters
    assert f"tensorboard --logdir {run}\n" in output


def test_a_resumed_run_draws_the_same_strips(tmp_path: Path) -> None:
    config, run = smallest(tmp_path, "logger=tensorboard", "test_images=8"), tmp_path / "run"
    train(config, run)
    strips = [run / "samples" / f"step_00000008_{what}.png" for what in ("interpolation", "edit_Smiling")]
    drawn = [strip.read_bytes() for strip in strips]
    for strip in strips:
        strip.unlink()
    train(config, *find(checkpoints_of(run)[0]))
    assert [strip.read_bytes() for strip in strips] == drawn


def test_strips_show_an_attribute_that_some_have() -> None:
    faces = DrawnFaces("train", 16, 0, 60)
    assert faces.attributes is not None
    everybody = list(range(60))
    assert shown_attribute(faces, everybody) == "Smiling"
    smiling = faces.attributes[:, faces.attribute_names.index("Smiling")].nonzero().flatten().tolist()
    assert shown_attribute(faces, smiling[:20]) == "Young"
    assert shown_attribute(faces, smiling[:8]) is None
    faces.attributes = None
    assert shown_attribute(faces, everybody) is None


def test_the_exported_model_is_given_to_wandb_on_request_only(tmp_path: Path) -> None:
    for artifacts in ("false", "true"):
        run = tmp_path / artifacts
        train(smallest(tmp_path, "logger=wandb", f"logger.artifacts={artifacts}", "max_steps=2"), run)
        found = [record.artifact for record in all_records(run) if record.HasField("artifact")]
        if artifacts == "false":
            assert found == []
        else:
            (artifact,) = found
            assert (artifact.type, artifact.name[:12]) == ("model", "drawn_faces-")
            assert {entry.path for entry in artifact.manifest.contents} == {"model.json", "model.safetensors"}
            assert "test/bits_per_dim" in artifact.metadata


def test_a_damaged_memory_of_wandb_is_a_new_wandb_run(tmp_path: Path) -> None:
    run = tmp_path / "run"
    train(smallest(tmp_path, "logger=wandb", "max_steps=2"), run)
    (run / "wandb" / "glow_app.json").write_text("{")
    train(smallest(tmp_path, "logger=wandb", "max_steps=4"), *find(run))
    assert len({record.run.run_id for record in all_records(run) if record.HasField("run")}) == 2


def test_the_sweep_of_the_documentation_composes() -> None:
    sweep = yaml.safe_load((ROOT / "docs" / "wandb_sweep.yaml").read_text())
    start = sweep["command"].index("glow-train")
    fixed = [word for word in sweep["command"][start + 1 :] if not word.startswith("${")]
    assert sweep["command"][-1] == "${args_no_hyphens}"
    for end in (0, -1):
        chosen = {
            key: of["values"][end] if "values" in of else (of["min"], of["max"])[end]
            for key, of in sweep["parameters"].items()
        }
        config = configure(*fixed, *(f"{key}={value}" for key, value in chosen.items()))
        assert (config.logger.name, config.logger.mode) == ("wandb", "online")
    assert sweep["metric"]["name"] == "val/bits_per_dim"


def test_only_one_file_knows_wandb() -> None:
    knowing = {
        p.name for p in (ROOT / "glow_app").rglob("*.py") if re.search(r"import wandb|WandbLogger", p.read_text())
    }
    assert knowing == {"wandb.py"}
