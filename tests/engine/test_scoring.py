"""Log-probabilities of given answers equal those of plain forward passes."""

from __future__ import annotations

import math
from collections.abc import Callable

import pytest
import torch

from osler.engine.generate import Prompt
from osler.engine.options import Decoding
from osler.engine.prefix import PrefixStore
from osler.engine.runner import Runner
from osler.engine.scoring import Scored, Scoring, score_continuations
from osler.engine.session import Session
from osler.errors import CapacityError, RequestError
from osler.model.osler import Osler, image_blocks
from osler.study import Answer, ModelStamp, Study
from osler.weights import Checkpoint

_CONTINUATIONS = ([130, 131, 132], [140], [130, 200, 201, 202, 203], [2, 3])


@torch.inference_mode()
def plainly(model: Osler, prompt: Prompt, token_ids: list[int]) -> list[float]:
    """One whole forward pass over prompt and continuation, no cache and no chunk."""
    ids_1L = torch.cat((torch.from_numpy(prompt.token_ids), torch.tensor(token_ids)))[None]
    hidden_1LD = model.decoder(
        model.embed(ids_1L, prompt.features_NTD),
        positions_BL=torch.arange(ids_1L.shape[1])[None],
        image_blocks_BL=image_blocks(ids_1L, image_token=model.config.tokens.image),
    )
    start = len(prompt.token_ids) - 1
    logprobs_LV = model.logits(hidden_1LD[0, start:-1]).float().log_softmax(-1)
    return [float(row_V[token]) for row_V, token in zip(logprobs_LV, token_ids, strict=True)]


@pytest.mark.parametrize(("images", "text"), [(0, 3), (2, 30)])
def test_scores_are_those_of_plain_forward_passes(
    model: Osler, runner: Runner, make_prompt: Callable[..., Prompt], images: int, text: int
) -> None:
    prompt = make_prompt(images=images, text=text)
    found = score_continuations(
        runner, prompt, _CONTINUATIONS, decoding=Decoding(max_tokens=5, chunk=16), prefix=PrefixStore()
    )
    for token_ids, logprobs in zip(_CONTINUATIONS, found, strict=True):
        assert logprobs == pytest.approx(plainly(model, prompt, token_ids), abs=2e-4)


def test_a_second_prompt_on_the_same_images_reads_them_no_more(
    model: Osler, make_prompt: Callable[..., Prompt], monkeypatch: pytest.MonkeyPatch
) -> None:
    runner, store, first = Runner(model), PrefixStore(), make_prompt(images=2, text=12)
    second = Prompt(token_ids=first.token_ids.copy(), features_NTD=first.features_NTD)
    second.token_ids[-3:] = 300
    score_continuations(runner, first, [[130]], decoding=Decoding(max_tokens=1), prefix=store)
    read: list[int] = []
    plain = runner.read
    monkeypatch.setattr(runner, "read", lambda ids, **rest: (read.append(ids.shape[1]), plain(ids, **rest))[1])
    (again,) = score_continuations(runner, second, [[130]], decoding=Decoding(max_tokens=1), prefix=store)
    assert sum(read) <= 13
    assert again == pytest.approx(plainly(model, second, [130]), abs=2e-4)


def test_shares_add_up_and_follow_the_logprobs() -> None:
    def scored(*logprobs: float) -> Scored:
        return Scored(text="x", token_ids=(1,) * len(logprobs), logprobs=logprobs)

    stamp = ModelStamp(name="m", weights="", bits=16, backend="torch", device="cpu")
    scoring = Scoring(
        scored=(scored(-1000.0, -1.0), scored(-1001.0 - math.log(3))),
        answer=Answer(text="", model=stamp, preprocess=""),
    )
    assert scoring.shares() == pytest.approx((0.75, 0.25))


def test_a_session_scores_and_refuses_what_is_empty(checkpoint: Checkpoint, ct_study: Study) -> None:
    session = Session(checkpoint)
    scoring = session.score(ct_study, "is it?", ["yes", "no"])
    assert [entry.text for entry in scoring.scored] == ["yes", "no"]
    assert all(entry.logprob < 0 for entry in scoring.scored)
    assert scoring.answer.used[0].slices == tuple(range(8))
    with pytest.raises(RequestError, match="no answer to score, or an empty one"):
        session.score(ct_study, "is it?", ["yes", ""])
    with pytest.raises(CapacityError):
        session.score(ct_study, "is it?", ["no" * 5000])


def test_a_session_that_shows_one_image_answers_about_that_image(checkpoint: Checkpoint, ct_study: Study) -> None:
    session = Session(checkpoint)
    whole = session.blank(ct_study)
    prepared = session.prepare(ct_study)
    import dataclasses

    from osler.prepare import PixelBatches

    one = dataclasses.replace(
        prepared,
        pixels=PixelBatches(rgb=prepared.pixels.rgb[2:3], preprocess=prepared.pixels.preprocess),
        images=prepared.images[2:3],
        series=(dataclasses.replace(prepared.series[0], images=1),),
    )
    answer = session.showing(ct_study, one).ask(ct_study, "what?", max_tokens=2)
    assert [entry.slice for entry in answer.evidence] == [2]
    assert len(whole.evidence) == 8
    assert whole.text == ""
    assert session.prepare(ct_study) is prepared
