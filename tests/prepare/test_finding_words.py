"""What the decoder is told of findings: one line, in degrees that rise."""

from __future__ import annotations

from osler.prepare.finding_words import finding_words


def test_degrees_of_a_finding_rise_with_its_share() -> None:
    shares = (0.0, 0.03, 0.1, 0.25, 0.5, 1.0)
    text = finding_words({f"f{number}": share for number, share in enumerate(shares)})
    assert text == "The findings head reads: f0: no, f1: hardly any, f2: perhaps, f3: probably, f4: surely, f5: surely."
    assert finding_words({}) == ""


def test_degrees_lie_between_the_levels_of_a_finding() -> None:
    levels = {"a": (0.001, 0.002, 0.003, 0.004)}
    assert finding_words({"a": 0.0035, "b": 0.0035}, levels=levels) == ("The findings head reads: a: probably, b: no.")
