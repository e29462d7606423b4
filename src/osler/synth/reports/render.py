"""From facts to reports: all exams of a batch at once."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from osler.synth.draws import Draws
from osler.synth.fact_table import FactTable
from osler.synth.reports.findings_text import findings_text
from osler.synth.reports.header_text import HeaderText
from osler.synth.reports.impression_text import impression_text
from osler.synth.reports.patterns import Stream
from osler.synth.reports.rows import fact_rows
from osler.synth.reports.voices import LANGUAGES, Voices, choice_share, choose, draw_voices
from osler.synth.reports.wording import SECTIONS, Wording, load_wording

_SLIP_SHARE = 0.12
_SLIP = 60
_SAID = 61


def render_texts(table: FactTable) -> tuple[pa.StringArray, Voices]:
    """Writes the report of every exam of a table.

    Returns:
        One text for each exam, in the table's order, and the voices they are told in.
    """
    columns = table.exams
    draws = Draws(seed=table.seed, patients=table.patients.number[columns.patient])
    voices = draw_voices(draws, exam=columns.number)
    parts, where = [], []
    for language, name in enumerate(LANGUAGES):
        exams = voices.of(language=language)
        if exams.size:
            parts.append(_render(table, exams=exams, voices=voices.take(exams), wording=load_wording(name)))
            where.append(exams)
    if not parts:
        return pa.array([], pa.string()), voices
    order = np.argsort(np.concatenate(where), kind="stable")
    return pa.concat_arrays(parts).take(pa.array(order)), voices


def _render(table: FactTable, *, exams: np.ndarray, voices: Voices, wording: Wording) -> pa.StringArray:
    rows = fact_rows(table, exams=exams, voices=voices)
    header = HeaderText(table, exams=exams, voices=voices, wording=wording)
    streams = (
        header.indication(),
        header.technique(),
        header.comparison(),
        findings_text(rows, wording=wording),
        impression_text(rows, wording=wording),
    )
    texts = []
    for section, stream in enumerate(streams):
        heading = wording.headings[section, voices.headings]
        whole = _never_empty(_headed(stream, heading=heading), section=section, voices=voices, wording=wording)
        texts.append(_with_slips(whole, voices=voices, wording=wording))
    written = [wording.phrases.write(stream.numbers, bounds=stream.bounds) for stream in texts]
    assert len(written) == len(SECTIONS)
    return pc.binary_join_element_wise(*written, "\n")


def _headed(stream: Stream, *, heading: np.ndarray) -> Stream:
    """Puts a phrase before each text."""
    at = stream.bounds[:-1]
    return Stream(numbers=np.insert(stream.numbers, at, heading), bounds=stream.bounds + np.arange(stream.bounds.size))


def _never_empty(stream: Stream, *, section: int, voices: Voices, wording: Wording) -> Stream:
    """Says so where an exam has no findings at all: its text is but a heading."""
    empty = np.flatnonzero(np.diff(stream.bounds) == 1)
    if not empty.size:
        return stream
    texts = wording.words["nothing" if SECTIONS[section] == "findings" else "normal"][:, 0]
    said = texts[choose(voices.bits[empty], count=len(texts), salt=_SAID)]
    added = np.zeros(stream.bounds.size, dtype=np.int64)
    added[empty + 1] = 1
    return Stream(
        numbers=np.insert(stream.numbers, stream.bounds[empty + 1], wording.phrases.capital[said]),
        bounds=stream.bounds + np.cumsum(added),
    )


def _with_slips(stream: Stream, *, voices: Voices, wording: Wording) -> Stream:
    """Puts dictation errors into the texts of those voices that make them."""
    count = np.diff(stream.bounds)
    text = np.repeat(np.flatnonzero(voices.slips), count[voices.slips == 1])
    if not text.size:
        return stream
    start = np.cumsum(count[voices.slips == 1]) - count[voices.slips == 1]
    inside = np.arange(text.size) - np.repeat(start, count[voices.slips == 1])
    at = stream.bounds[text] + inside
    share = choice_share(voices.bits[text] + (inside.astype(np.uint64) << np.uint64(16)), salt=_SLIP)
    at = at[share < _SLIP_SHARE]
    numbers = stream.numbers.copy()
    numbers[at] = wording.phrases.slip[numbers[at]]
    return Stream(numbers=numbers, bounds=stream.bounds)
