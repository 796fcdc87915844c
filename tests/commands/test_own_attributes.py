"""Attributes of one's own: a table of some of the pictures, and two folders in place of a table."""

import json
import shutil
from pathlib import Path

import pytest
import torch

from glow_app import figures
from glow_app.commands.directions import directions
from glow_app.commands.edit import edit
from glow_app.commands.export import export
from glow_app.commands.judge import judge
from glow_app.config.commands import DemoConfig, ExportConfig
from glow_app.config.editing import DirectionsConfig, EditConfig, JudgeConfig
from glow_app.data.faces.factors import FACE_ATTRIBUTES
from glow_app.data.sets.drawn_faces import DrawnFaces
from glow_app.data.sets.folder import Folder
from glow_app.data.sets.two_folders import TwoFolders
from glow_app.demo.command import open_studio
from glow_app.errors import UserError
from glow_app.latents.directions import load
from glow_app.training.pictures.interpolations import InterpolationGrids
from tests.commands.using import configure, use
from tests.training.runs import QUIET

N = 40
SMILING = FACE_ATTRIBUTES.index("Smiling")


def has_it(faces: DrawnFaces, number: int) -> bool:
    return bool(faces.attributes[number, SMILING])


@pytest.fixture(scope="module")
def pictures(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Splits of faces, of each of which three have no row in ``table.csv``; and the labelled again, in two folders."""
    root = tmp_path_factory.mktemp("own")
    rows = ["file;Smiling"]
    for split in ("train", "val", "test"):
        faces = DrawnFaces(split, image_size=16, n_images=N if split == "train" else 70)
        for number in range(len(faces)):
            path = root / "all" / split / f"{split}_{number}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            figures.save_png(figures.to_picture(faces[number]), path)
            if number >= 3:
                rows.append(f"{path.stem};{has_it(faces, number)}")
                if split == "train":
                    folder = root / ("with" if has_it(faces, number) else "without") / "deep"
                    folder.mkdir(parents=True, exist_ok=True)
                    shutil.copy(path, folder)
    (root / "table.csv").write_text("\n".join(rows))
    return root


@pytest.fixture
def own_run(run: Path, tmp_path: Path) -> Path:
    """A copy of the run, which has no directions yet."""
    return shutil.copytree(run, tmp_path / "run")


def table(pictures: Path) -> list[str]:
    return ["data=folder", f"data.root={pictures / 'all'}", f"data.attributes={pictures / 'table.csv'}"]


def two_folders(run: Path, pictures: Path, *arguments: str) -> str:
    chosen = ["name=Smiling", *arguments]
    if not any(argument.startswith("positive=") for argument in arguments):
        chosen += [f"positive={pictures / 'with'}", f"negative={pictures / 'without'}"]
    return use(directions, configure("directions", DirectionsConfig, f"checkpoint={run}", "calibration=0", *chosen))


def test_pictures_without_a_row_are_left_out_of_directions_and_judgements(own_run: Path, pictures: Path) -> None:
    cache = f"data.cache_folder={pictures / 'cache'}"
    arguments = [f"checkpoint={own_run}", *table(pictures), cache]
    text = use(directions, configure("directions", DirectionsConfig, *arguments, "calibration=0"))
    assert text.count("no row for 3 of the 40 images, which are left out here") == 1
    account = json.loads((own_run / "directions" / "directions.json").read_text())["account"]
    labels = DrawnFaces("train", image_size=16, n_images=N).attributes[3:, SMILING]
    assert account["counts"]["Smiling"] == {"with": int(labels.sum()), "without": int((1 - labels).sum())}
    text = use(judge, configure("judge", JudgeConfig, *arguments, "judge_examples=64", "n_images=8", "curve_images=0"))
    assert text.count("no row for 3 of the 70 images") == 2, "of val, from which the judge learns, and of test"


def test_a_split_without_any_row_is_told(run: Path, pictures: Path, tmp_path: Path) -> None:
    (tmp_path / "t.csv").write_text("file,Smiling\ntest_0,1\ntest_1,0\n")
    arguments = [f"checkpoint={run}", *table(pictures)[:2], f"data.attributes={tmp_path / 't.csv'}"]
    with pytest.raises(UserError, match="no row for 40 of the 40 images; add rows, or choose another split"):
        use(directions, configure("directions", DirectionsConfig, *arguments, f"data.cache_folder={tmp_path}"))


def test_grids_of_a_training_use_only_pictures_with_a_row(pictures: Path) -> None:
    train = Folder(pictures / "all", "train", 16, attributes=pictures / "table.csv")
    grids = InterpolationGrids(None, 1, train, train, 8, None, QUIET)  # type: ignore[arg-type]
    assert len(train) == N
    assert {train.item_name(i) for i in range(N)} - {train.item_name(i) for i in grids.chosen} == {
        f"train/train_{number}.png" for number in range(3)
    }
    assert grids.attribute == "Smiling"


def test_two_folders_give_what_a_table_gives(own_run: Path, pictures: Path) -> None:
    cache = f"data.cache_folder={pictures / 'cache'}"
    told = two_folders(own_run, pictures, cache)
    assert "glow-edit checkpoint=" in told
    assert "directions=" not in told, "the run had no directions: these are its own"
    found = load(own_run / "directions")
    chosen = [f"checkpoint={own_run}", *table(pictures), f"output={own_run / 'other'}", cache, "calibration=0"]
    use(directions, configure("directions", DirectionsConfig, *chosen))
    by_table = load(own_run / "other")
    assert found.names == by_table.names == ("Smiling",)
    assert found.metadata["counts"] == by_table.metadata["counts"]
    assert torch.nn.functional.cosine_similarity(found.units[0], by_table.units[0], 0) > 0.999
    account = found.metadata
    assert account["data"] == {
        "name": "two_folders",
        "positive": str(pictures / "with"),
        "negative": str(pictures / "without"),
    }
    assert account["images"] == N - 3


def test_what_comes_after_two_folders(own_run: Path, pictures: Path, tmp_path: Path) -> None:
    two_folders(own_run, pictures, "data.cache=false")
    smiling = [f"checkpoint={own_run}", f"images=[{pictures / 'all' / 'test' / 'test_1.png'}]", "sweep=[Smiling]"]
    use(edit, configure("edit", EditConfig, *smiling))
    assert (own_run / "edit" / "test_1_sweep_Smiling_-1to+1.png").is_file()
    studio = open_studio(configure("demo", DemoConfig, f"checkpoint={own_run}"), QUIET)  # type: ignore[type-var]
    assert studio.attributes == ("Smiling",)
    few = ("judge_examples=64", "n_images=8", "methods=[mean_difference]", "curve_images=0")
    use(judge, configure("judge", JudgeConfig, f"checkpoint={own_run}", *few))  # drawn faces have smiles, too
    judged = json.loads((own_run / "judge" / "judge.json").read_text())
    assert [one["attribute"] for one in judged["methods"]["mean_difference"]["attributes"]] == ["Smiling"]
    own = [f"checkpoint={own_run}", *table(pictures), f"data.cache_folder={tmp_path}", *few]
    use(judge, configure("judge", JudgeConfig, *own))
    inside = [f"positive={pictures / 'all' / 'val'}", f"negative={pictures / 'all' / 'train'}"]
    two_folders(own_run, pictures, *inside, f"output={tmp_path / 'inside'}", "data.cache=false")
    with pytest.raises(UserError, match=r"made from the pictures in .*val, and data\.root=.*all may share some"):
        use(judge, configure("judge", JudgeConfig, *own, f"directions={tmp_path / 'inside'}"))
    config = configure("export", ExportConfig, f"checkpoint={own_run}", f"output={tmp_path / 'e'}")  # type: ignore[type-var]
    export(config, None, QUIET)
    assert load(tmp_path / "e").metadata["data"] == {"name": "two_folders", "positive": "with", "negative": "without"}


def test_directions_of_two_folders_leave_a_models_others_alone(own_run: Path, pictures: Path) -> None:
    use(directions, configure("directions", DirectionsConfig, f"checkpoint={own_run}", "calibration=0"))
    names = load(own_run / "directions").names
    told = two_folders(own_run, pictures, "data.cache=false")
    assert f"directions={own_run / 'directions_Smiling'}" in told.replace("\n", "")
    assert load(own_run / "directions").names == names != ("Smiling",)
    assert load(own_run / "directions_Smiling").names == ("Smiling",)


def test_both_kinds_are_spread_over_the_images(pictures: Path) -> None:
    source = TwoFolders(pictures / "with", pictures / "without", "Smiling", (3, 16, 16), {"name": "drawn_faces"})
    assert len(source) == N - 3
    for part in (source.attributes[: N // 2], source.attributes[N // 2 :]):
        assert part.float().mean().item() == pytest.approx(source.attributes.float().mean().item(), abs=0.06)
    for index in (0, N - 4):
        folder = "with" if source.attributes[index] else "without"
        assert source.item_name(index).startswith(str(pictures / folder))
    swapped = TwoFolders(pictures / "without", pictures / "with", "Smiling", (3, 16, 16), {"name": "drawn_faces"})
    assert swapped.attributes.sum() == N - 3 - source.attributes.sum()


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["name=Glasses", "positive={with}"], "positive, negative and name belong together"),
        (["positive={with}", "negative={without}"], "positive, negative and name belong together"),
        (["name=Glasses", "positive={with}", "negative=nowhere"], "negative=nowhere is no folder"),
        (["name=Glasses", "positive={with}", "negative={empty}"], "negative=.*empty holds no images"),
        (["name=Glasses", "positive={with}", "negative={with}"], "is in positive and in negative"),
    ],
)
def test_folders_that_are_no_two(run: Path, pictures: Path, tmp_path: Path, arguments: list[str], says: str) -> None:
    (tmp_path / "empty").mkdir()
    places = {"with": pictures / "with", "without": pictures / "without", "empty": tmp_path / "empty"}
    given = [argument.format(**places) for argument in arguments]
    with pytest.raises(UserError, match=says) as caught:
        use(directions, configure("directions", DirectionsConfig, f"checkpoint={run}", f"output={tmp_path}", *given))
    assert "\n" not in str(caught.value)
