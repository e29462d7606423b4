"""Parts are switched when a model is loaded: what is off leaves an identity, and its skills with it."""

from __future__ import annotations

import datetime as dt
from itertools import combinations
from pathlib import Path

import pytest
import torch

from osler.engine.load import load
from osler.engine.session import Session
from osler.errors import RequestError
from osler.prepare import preprocess_for
from osler.quant.kernels import VARIABLE
from osler.study import Study
from osler.weights import Checkpoint
from osler.weights.osler_folder import save_osler_folder
from osler.weights.parts import PARTS
from tests.engine.films import film_study, lab

DAYS = (dt.date(2024, 1, 1), dt.date(2024, 2, 11))
FINDINGS = ["pleural effusion", "pneumothorax"]


@pytest.fixture
def folder(parts_checkpoint: Checkpoint, tmp_path: Path) -> Path:
    """Weights with every part, gates a little open."""
    model = parts_checkpoint.model
    save_osler_folder(
        model,
        tmp_path / "parts",
        preprocess=preprocess_for(model.config),
        tokenizer=parts_checkpoint.tokenizer,
        trained=parts_checkpoint.trained,
    )
    return tmp_path / "parts"


def opened(folder: Path, *parts: str, backend: str = "torch") -> Session:
    return load(str(folder), bits=32, studies="memory", backend=backend, parts=parts)  # type: ignore[arg-type]


def soft_tokens(session: Session, study: Study) -> torch.Tensor:
    waiting = session._timelines.joined(
        session.encode(session.prepare(study)), session=session, study=study, prepared=session.prepare(study)
    )
    assert waiting is not None
    return waiting


def test_every_choice_of_parts_loads_and_answers(folder: Path) -> None:
    study = film_study(*DAYS)
    for count in range(len(PARTS) + 1):
        for parts in combinations(PARTS, count):
            session = opened(folder, *parts)
            config = session.model.config
            assert [part for part in PARTS if getattr(config, part) is not None] == list(parts)
            names = {name.partition(".")[0] for name in session.model.state_dict()}
            assert {name for name in (*PARTS, "volume_projection") if name in names} == (
                {*parts, "volume_projection"} if "volume" in parts else set(parts)
            )
            assert session.ask(study, "what?", max_tokens=2).tokens["answer"] >= 0  # type: ignore[index]


def test_without_a_part_is_the_network_whose_part_was_never_trained(folder: Path) -> None:
    """A closed gate and a part that is not there give the same soft tokens and logits."""
    study = film_study(*DAYS, events=(lab("crp", 30.0, date=DAYS[0]),))
    whole, bare = opened(folder, *PARTS), opened(folder, "heads")
    assert not torch.equal(soft_tokens(whole, study), soft_tokens(bare, study))
    assert whole.model.temporal is not None
    assert whole.model.adapter is not None
    with torch.no_grad():
        whole.model.temporal.gate.zero_()
        for name, parameter in whole.model.adapter.named_parameters():
            if "gate" in name:
                parameter.zero_()
    assert torch.equal(soft_tokens(whole, study), soft_tokens(bare, study))
    first, second = (session.score(study, "what?", ["a cat", "no"]) for session in (whole, bare))
    for one, other in zip(first.scored, second.scored, strict=True):
        assert one.logprob == pytest.approx(other.logprob, abs=1e-6)


def test_without_heads_their_skills_leave(folder: Path) -> None:
    session = opened(folder, "volume", "adapter", "temporal")
    assert session.heads == {}
    assert session.trained == {"answers"}
    assert any("runs without heads" in warning for warning in session.checkpoint.warnings)


def test_without_attention_over_time_progression_reads_the_last_date_alone(folder: Path) -> None:
    session = opened(folder, "heads")
    reader = session.heads["progression"]
    study = film_study(*DAYS)
    events = (lab("crp", 30.0, date=DAYS[0]),)
    plain = reader.changes(session, study, findings=FINDINGS)
    assert reader.changes(session, film_study(*DAYS, events=events), findings=FINDINGS) == plain
    whole = opened(folder, *PARTS)
    assert whole.heads["progression"].changes(whole, study, findings=FINDINGS) != plain


def test_what_was_remembered_of_the_whole_network_is_not_taken_for_the_rest(folder: Path) -> None:
    keys = {opened(folder, *parts).checkpoint.key for parts in (PARTS, ("heads",), ("heads", "temporal"))}
    assert len(keys) == 3
    assert opened(folder, *PARTS).checkpoint.key == load(str(folder), bits=32, studies="memory").checkpoint.key


def test_an_unknown_part_is_named_with_the_nearest(folder: Path) -> None:
    with pytest.raises(RequestError, match=r"Unknown part 'temporall'.*adapter, heads, temporal, volume.*'temporal'"):
        opened(folder, "temporall")
    with pytest.raises(RequestError, match="Parts as one text: 'heads'"):
        load(str(folder), parts="heads")  # type: ignore[arg-type]


@pytest.mark.parametrize("bits", [8, 4])
def test_quantized_weights_lose_the_same_parts(folder: Path, bits: int) -> None:
    session = load(str(folder), bits=bits, studies="memory", parts=("heads",))
    assert session.model.temporal is None
    assert session.model.adapter is None
    assert session.model.heads is not None
    assert session.ask(film_study(*DAYS), "what?", max_tokens=2).tokens["answer"] >= 0  # type: ignore[index]


@pytest.mark.parametrize("bits", [32, 8])
def test_the_twin_on_jax_loses_the_same_parts(folder: Path, bits: int, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("jax")
    # On some paths PyTorch's image tower rounds activations to 8 bits.
    monkeypatch.setenv(VARIABLE, "torch")
    session = load(str(folder), bits=bits, dtype="float32", studies="memory", backend="jax", parts=("heads",))
    assert session.network.temporal is None
    plain = load(str(folder), bits=bits, dtype="float32", studies="memory", parts=("heads",))
    study = film_study(*DAYS)
    torch.testing.assert_close(soft_tokens(session, study), soft_tokens(plain, study), atol=1e-4, rtol=1e-4)
