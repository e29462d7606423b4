"""A folder with every part, from disk to answers: each task uses the head that its weights were trained for."""

from __future__ import annotations

import datetime as dt
import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from PIL import Image
from typer.testing import CliRunner

import osler
from osler.cli.app import app
from osler.engine.head_results import HeadChange, Known
from osler.engine.session import Session
from osler.model.osler import Osler
from osler.prepare import preprocess_for
from osler.study import Affine, Study, TimePoint
from osler.tasks.search import SearchRequest, build_index, search
from osler.weights.osler_folder import save_osler_folder
from osler.weights.tokenizer import GemmaTokenizer
from tests.engine.conftest import parts_model  # noqa: F401 (a fixture)
from tests.engine.films import film, film_study, lab, noise_volume

SKILLS = ("answers", "boxes", "findings", "progression", "embeddings")
DAYS = (dt.date(2024, 1, 1), dt.date(2024, 2, 11))


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory, parts_model: Osler, tokenizer: GemmaTokenizer) -> Path:  # noqa: F811
    """Random weights that find every box, with one finding of two calibrated."""
    path = tmp_path_factory.mktemp("weights") / "full"
    heads = parts_model.heads
    assert heads is not None
    heads.boxes.presence.bias.fill_(50.0)
    heads.findings.scale[:] = heads.findings.scale.new_tensor([1.0, float("nan")])
    heads.progression.mlp[-1].bias[3] = 50.0
    save_osler_folder(
        parts_model, path, preprocess=preprocess_for(parts_model.config), tokenizer=tokenizer, trained=SKILLS
    )
    return path


@pytest.fixture(scope="module")
def session(folder: Path) -> Session:
    return osler.load(str(folder), dtype="float32", studies="memory")


@pytest.fixture
def png(tmp_path: Path) -> Path:
    path = tmp_path / "film.png"
    Image.fromarray(np.random.default_rng(1).integers(0, 255, (60, 40), dtype=np.uint8)).save(path)
    return path


def one(series: object) -> Study:
    return Study(timepoints=(TimePoint(series=(series,)),))  # type: ignore[arg-type]


def test_locate_draws_in_the_pixels_of_the_file(session: Session) -> None:
    answer = osler.locate(session, one(film(1)), ["heart", "spine"])
    assert [box.label for box in answer.boxes] == ["heart", "spine"]
    assert answer.untrained == ()
    for box in answer.boxes:
        assert box.pixel is not None
        assert 0 <= box.pixel.x0 < box.pixel.x1 <= 40
        assert 0 <= box.pixel.y0 < box.pixel.y1 <= 60


def test_locate_draws_in_the_patient(session: Session) -> None:
    affine = Affine(np.diag([2.0, 2.0, 5.0, 1.0]))
    (box,) = osler.locate(session, one(noise_volume(affine=affine)), ["liver"]).boxes
    assert box.patient is not None
    assert box.patient.frame == "LPS"
    assert all(low >= -2.5 for low in box.patient.low)


def test_findings_tells_what_is_calibrated(session: Session) -> None:
    answer = osler.findings(session, one(film(1)), names=["pleural effusion", "pneumothorax", "cardiomegaly"])
    told = {entry.name: entry.probability for entry in answer.findings}
    assert told["pleural effusion"] is not None
    assert told["pneumothorax"] is told["cardiomegaly"] is None
    assert answer.untrained == ()
    assert any("not trained on 1 of 3" in note for note in answer.warnings)


def test_a_report_says_what_the_findings_head_reads(session: Session) -> None:
    answer = osler.report(session, one(film(1)))
    told = [entry for entry in answer.findings if entry.probability is not None]
    assert told
    assert len(told) == len(answer.findings)
    likely, others = (line for line in answer.statements if line.section == "findings")
    for entry in told:
        line = likely if entry.probability >= 0.5 else others
        assert f"{entry.name} {entry.probability:.0%}" in line.text
    assert all(one.note == "the findings head" for line in (likely, others) for one in line.evidence)
    assert answer.text.endswith("Impression: not given. full was not trained to write reports.")
    assert answer.untrained == ("reports",)


def test_compare_follows_findings_over_dates(session: Session) -> None:
    record = (lab("crp", 30.0, date=DAYS[0]),)
    prior, now = (Study(timepoints=(point,), events=record) for point in film_study(*DAYS, events=record).timepoints)
    answer = osler.compare(session, now, [prior], findings=["pleural effusion", "cardiomegaly"])
    told = {entry.finding: (entry.change, entry.days) for entry in answer.progression if not entry.measure}
    assert told["pleural effusion"] == ("worsened", 41)
    assert told["cardiomegaly"] == ("cannot tell", 41)
    assert answer.untrained == ()


def test_without_progression_compare_shows_both_probabilities(
    session: Session, monkeypatch: pytest.MonkeyPatch
) -> None:
    prior, now = (Study(timepoints=(point,)) for point in film_study(*DAYS).timepoints)
    monkeypatch.setattr(session, "checkpoint", replace(session.checkpoint, trained=frozenset({"findings"})))
    answer = osler.compare(session, now, [prior], findings=["pleural effusion", "cardiomegaly"])
    then, today = (osler.findings(session, one, names=["pleural effusion"]).findings[0] for one in (prior, now))
    wanted = f"pleural effusion: {then.probability:.0%} in the study of 2024-01-01, {today.probability:.0%} now"
    (line,) = (line for line in answer.statements if "findings head" in line.text)
    assert line.text.startswith(wanted)
    assert [one.date for one in line.evidence] == list(DAYS)
    assert {entry.change for entry in answer.progression} == {"cannot tell"}
    assert answer.untrained == ("progression",)


def test_compare_shows_the_head_what_came_before_the_prior(session: Session, monkeypatch: pytest.MonkeyPatch) -> None:
    days = (dt.date(2023, 5, 1), *DAYS)
    first, second, now = (Study(timepoints=(point,)) for point in film_study(*days).timepoints)
    head = session.heads["progression"]
    seen: list[tuple[dt.date | None, ...]] = []

    def changes(
        session: Session, study: Study, *, findings: Sequence[str], known: Known = "nothing"
    ) -> list[HeadChange]:
        seen.append(tuple(point.date for point in study.timepoints))
        return head.changes(session, study, findings=findings, known=known)

    monkeypatch.setattr(session, "heads", {"progression": SimpleNamespace(findings=head.findings, changes=changes)})
    osler.compare(session, now, [second, first], findings=["pleural effusion"])
    assert seen == [(days[0], days[2]), days]


def test_words_find_images(session: Session, folder: Path, png: Path, tmp_path: Path) -> None:
    archive = tmp_path / "archive"
    archive.mkdir()
    for number in range(3):
        pixels = np.random.default_rng(number).integers(0, 255, (48, 48), dtype=np.uint8)
        Image.fromarray(pixels).save(archive / f"{number}.png")
    (archive / "note.txt").write_text("Effusion on the left.", encoding="utf-8")
    index = tmp_path / "all.index"
    build_index(session, [archive], index=index)
    by_words = search(SearchRequest(index=index, query="effusion", kind="text"), session=session)
    assert next(Path(match.study).name for match in by_words.matches) == "note.txt"
    assert {Path(match.study).name for match in by_words.matches} == {"note.txt", "0.png", "1.png", "2.png"}
    assert by_words.untrained == ()
    assert all(0 <= match.score <= 1 for match in by_words.matches)
    by_study = search(SearchRequest(index=index, query=str(archive / "0.png"), kind="study"), session=session)
    assert by_study.untrained == ()
    assert len(by_study.matches) == 2


def test_weights_without_the_skill_do_not_use_the_head(folder: Path, tmp_path: Path, png: Path) -> None:
    other = tmp_path / "plain"
    other.mkdir()
    for file in folder.iterdir():
        (other / file.name).symlink_to(file)
    (other / "config.json").unlink()
    content = json.loads((folder / "config.json").read_text())
    (other / "config.json").write_text(json.dumps(content | {"trained": ["answers"]}))
    session = osler.load(str(other), studies="memory")
    assert set(session.heads) == {"boxes", "findings", "progression", "embeddings"}
    assert osler.locate(session, png, ["heart"]).untrained == ("boxes",)
    assert osler.findings(session, png, names=["pneumothorax"]).untrained == ("findings",)


@pytest.mark.parametrize(
    "arguments",
    [["locate", "heart"], ["findings"]],
)
def test_commands_use_them(folder: Path, png: Path, arguments: list[str]) -> None:
    command, *rest = arguments
    result = CliRunner().invoke(app, [command, str(png), *rest, "--model", str(folder), "--json", "--quiet"])
    assert result.exit_code == 0, result.output
    answer = json.loads(result.stdout)
    assert "untrained" not in answer or not answer["untrained"]
    assert answer["boxes"] if command == "locate" else any(f.get("probability") for f in answer["findings"])
