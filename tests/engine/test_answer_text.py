"""Streamed text is whole, free of stop strings and free of thinking."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from osler.engine.answer_text import THINK_END, THINK_START, AnswerText
from osler.errors import RequestError
from osler.weights.tokenizer import GemmaTokenizer


def _push(answer: AnswerText, ids: list[int]) -> list[str]:
    return [*(answer.push(token) for token in ids), answer.finish()]


def test_a_character_of_several_tokens_comes_whole(tokenizer: GemmaTokenizer) -> None:
    pieces = _push(AnswerText(tokenizer), tokenizer.encode("a é 😀."))
    assert "".join(pieces) == "a é 😀."
    assert "�" not in "".join(pieces)
    assert "😀" in pieces


def test_an_unfinished_character_is_marked_at_the_end(tokenizer: GemmaTokenizer) -> None:
    pieces = _push(AnswerText(tokenizer), tokenizer.encode("ok 😀")[:-1])
    assert "".join(pieces) == "ok �"


def test_a_stop_string_across_tokens_is_withheld(tokenizer: GemmaTokenizer) -> None:
    answer = AnswerText(tokenizer, stop=("STOP",))
    pieces = _push(answer, tokenizer.encode("lung STOP heart"))
    assert "".join(pieces) == answer.text == "lung "
    assert answer.stopped
    assert not any("S" in piece for piece in pieces)


def test_what_only_began_like_a_stop_string_is_shown(tokenizer: GemmaTokenizer) -> None:
    answer = AnswerText(tokenizer, stop=("STOP",))
    assert "".join(_push(answer, tokenizer.encode("a STOre, ST"))) == answer.text == "a STOre, ST"
    assert not answer.stopped


def test_the_earliest_of_several_stop_strings_counts(tokenizer: GemmaTokenizer) -> None:
    answer = AnswerText(tokenizer, stop=("cd", "bcdx"))
    _push(answer, tokenizer.encode("abcdx"))
    assert answer.text == "ab"


@given(text=st.text(alphabet="abST é😀", max_size=30), stop=st.text(alphabet="abST é", min_size=1, max_size=4))
def test_streamed_text_is_the_text_before_the_stop_string(tokenizer: GemmaTokenizer, text: str, stop: str) -> None:
    answer = AnswerText(tokenizer, stop=(stop,))
    shown = "".join(_push(answer, tokenizer.encode("X" + text)))
    assert shown == answer.text == ("X" + text).split(stop)[0]
    assert answer.stopped == (stop in "X" + text)


def test_thinking_is_not_shown(tokenizer: GemmaTokenizer) -> None:
    answer = AnswerText(tokenizer)
    ids = [THINK_START, *tokenizer.encode("thought hm"), THINK_END, *tokenizer.encode("\n CT.")]
    assert "".join(_push(answer, ids)) == answer.text == "CT."
    assert answer.thinking_tokens == len(ids) - 5


def test_thinking_without_an_opening_token_is_dropped(tokenizer: GemmaTokenizer) -> None:
    answer = AnswerText(tokenizer)
    _push(answer, [*tokenizer.encode("hm"), THINK_END, *tokenizer.encode("MR")])
    assert answer.text == "MR"
    assert answer.thinking_tokens == 3


def test_thinking_cut_short_leaves_no_answer(tokenizer: GemmaTokenizer) -> None:
    answer = AnswerText(tokenizer)
    assert _push(answer, [THINK_START, *tokenizer.encode("still thin")]) == [""] * 12
    assert answer.thinking
    assert answer.text == ""


def test_a_stop_string_inside_thinking_does_not_count(tokenizer: GemmaTokenizer) -> None:
    answer = AnswerText(tokenizer, stop=("END",))
    _push(answer, [THINK_START, *tokenizer.encode("END"), THINK_END, *tokenizer.encode("yes END no")])
    assert answer.text == "yes "


def test_control_tokens_leave_no_text(tokenizer: GemmaTokenizer) -> None:
    answer = AnswerText(tokenizer)
    _push(answer, [2, *tokenizer.encode("ok"), 105])
    assert answer.text == "ok"


@pytest.mark.parametrize("stop", [("",), ("a", "")])
def test_an_empty_stop_string_is_refused(tokenizer: GemmaTokenizer, stop: tuple[str, ...]) -> None:
    with pytest.raises(RequestError, match="stop string is empty"):
        AnswerText(tokenizer, stop=stop)


def test_one_text_is_one_stop_string(tokenizer: GemmaTokenizer) -> None:
    answer = AnswerText(tokenizer, stop="cd")
    _push(answer, tokenizer.encode("abcd"))
    assert answer.text == "ab"
