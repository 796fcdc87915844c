"""Tables of attributes, partitions and identities: the full ones, damaged ones, and names that are misspelt."""

import time
import zipfile
from pathlib import Path

import pytest
import torch

from glow_app.data.formats.tables import attribute_column, read_table
from glow_app.errors import UserError
from tests.data.layouts import CELEBA_COLUMNS, real_data


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("2\nA B\na.jpg 1 -1\nb.jpg 1\n", "line 4 should hold a file name and 2 values"),
        ("2\nA B\na.jpg 1 -1\nb.jpg 1 1 1\n", "line 4 should hold"),
        ("2\nA B\na.jpg 1\nb.jpg 1 1 1\n", "line 3 should hold"),
        ("3\nA B\na.jpg 1 -1\nb.jpg 1 1\n", "announces 3 rows and has 2"),
        ("2\nA B\na.jpg 1 x\nb.jpg 1 1\n", "line of a.jpg holds something"),
        ("2\nA B\na.jpg 1 -\nb.jpg 1 1\n", "line of a.jpg holds something"),
        ("a.jpg 1 1\nb.jpg 1 1\n", "should begin with the number of rows"),
        ("2\nA B\n\n", "holds no rows"),
    ],
)
def test_tables_that_were_damaged(tmp_path: Path, text: str, says: str) -> None:
    path = tmp_path / "list_attr_celeba.txt"
    path.write_text(text)
    with pytest.raises(UserError, match=says):
        read_table(path, header=True)


def test_an_unknown_attribute_suggests_the_nearest() -> None:
    assert attribute_column(CELEBA_COLUMNS, "smiling") == 1
    with pytest.raises(UserError, match=r"attribute Smilling is unknown: did you mean Smiling\?"):
        attribute_column(CELEBA_COLUMNS, "Smilling")
    with pytest.raises(UserError, match="has no attributes"):
        attribute_column((), "Smiling")


def test_the_full_annotation_files(tmp_path: Path) -> None:
    with zipfile.ZipFile(real_data("celeba_annotations_full.zip")) as archive:
        archive.extractall(tmp_path)
    begin = time.process_time()
    table = read_table(tmp_path / "list_attr_celeba.txt", header=True)
    partition = read_table(tmp_path / "list_eval_partition.txt", header=False)
    identity = read_table(tmp_path / "identity_CelebA.txt", header=False)
    counts = table.as_binary().sum(dim=0)
    assert time.process_time() - begin < 2
    assert len(table.names) == 202_599
    assert len(table.columns) == 40
    assert {a: int(counts[attribute_column(table.columns, a)]) for a in ("Smiling", "Male", "Young")} == {
        "Smiling": 97_669,
        "Male": 84_434,
        "Young": 156_734,
    }
    assert torch.bincount(torch.as_tensor(partition.values[:, 0])).tolist() == [162_770, 19_867, 19_962]
    assert len(set(identity.values[:, 0].tolist())) == 10_177
    assert table.names == partition.names == identity.names
