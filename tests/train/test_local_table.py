"""The user's table: what is read, what is listed as unusable, who is kept out."""

from __future__ import annotations

from pathlib import Path

import pytest

from osler.errors import DataError, RequestError
from osler.study import Box2D, Box3D
from osler.train.local_table import is_kept_out, read_local_table


def _table(folder: Path, text: str) -> Path:
    path = folder / "data.csv"
    path.write_bytes(text.encode())
    return path


def test_questions_and_boxes_are_read(tmp_path: Path) -> None:
    header = "path,question,answer,label,x0,y0,x1,y1,z0,z1,patient,split\n"
    rows = (
        '"a, b.png","Is it ""big""?",Yes.,,,,,,,,P1,\n'
        "ct,,, left  lung,-10,-20.5,30,40,1,9,,kept-out\n"
        "x.png,,,heart,1,2,3,4,,,,\n"
    )
    table = read_local_table(_table(tmp_path, "\ufeff" + header + rows))
    assert table.unreadable == ()
    question, volume, picture = table.rows
    assert (question.path, question.question, question.answer) == (tmp_path / "a, b.png", 'Is it "big"?', "Yes.")
    assert (question.line, question.patient, question.split) == (2, "P1", "")
    assert volume.label == "left lung"
    assert volume.box == Box3D(low=(-10, -20.5, 1), high=(30, 40, 9))
    assert volume.split == "kept-out"
    assert picture.box == Box2D(x0=1, y0=2, x1=3, y1=4)


@pytest.mark.parametrize(
    ("row", "reason"),
    [
        (",q,a,,,,,", "path is empty"),
        ("a.png,,a,,,,,", "question is empty"),
        ("a.png,q,,,,,,", "answer is empty"),
        ("a.png,,,heart,1,2,,4", "x1 is ''"),
        ("a.png,,,heart,1,2,three,4", "x1 is 'three'"),
        ("a.png,,,heart,1,2,nan,4", "x1 is not finite"),
        ("a.png,,,heart,3,2,1,4", "x0 is not below x1"),
        (f"a.png,,,{'h' * 300},1,2,3,4", "label has 300 characters"),
        ("a.png,q,a,,,,,,,,,", "more values than columns"),
        ("a.png,q,a,,,,,,maybe", "split is 'maybe'"),
    ],
)
def test_a_row_that_cannot_be_used_is_listed(tmp_path: Path, row: str, reason: str) -> None:
    header = "path,question,answer,label,x0,y0,x1,y1,split"
    table = read_local_table(_table(tmp_path, f"{header}\ngood.png,q,a,,,,,,\n{row}\n"))
    assert len(table.rows) == 1
    (bad,) = table.unreadable
    assert bad.line == 3
    assert reason in bad.reason


def test_wrong_columns_get_the_nearest_name(tmp_path: Path) -> None:
    with pytest.raises(RequestError, match=r"Did you mean 'question' by 'questions'\?.*'path' by 'Path'"):
        read_local_table(_table(tmp_path, "questions,Path,answer\nq,a.png,a\n"))


def test_a_missing_an_empty_and_a_binary_file(tmp_path: Path) -> None:
    with pytest.raises(RequestError, match="No table at"):
        read_local_table(tmp_path / "absent.csv")
    with pytest.raises(RequestError, match="columns none"):
        read_local_table(_table(tmp_path, ""))
    with pytest.raises(DataError, match="has no rows"):
        read_local_table(_table(tmp_path, "path,question,answer\n"))
    (tmp_path / "data.csv").write_bytes(b"\xff\xfe\x00path")
    with pytest.raises(DataError, match="is not a CSV"):
        read_local_table(tmp_path / "data.csv")


def test_the_hash_keeps_out_its_share() -> None:
    kept = [is_kept_out(f"patient {number}", share=0.2) for number in range(4000)]
    assert 0.17 < sum(kept) / len(kept) < 0.23
    assert kept[:50] == [is_kept_out(f"patient {number}", share=0.2) for number in range(50)]
    assert not any(is_kept_out(str(number), share=0.0) for number in range(100))
