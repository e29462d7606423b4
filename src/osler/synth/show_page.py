"""One page that shows a patient: pictures with boxes, the course of lesions, labs, diagnoses and drugs, the report."""

from __future__ import annotations

import io
import itertools
import textwrap
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from osler.extras import import_extra
from osler.synth.documents.phrases import exam_sentence, finding_name
from osler.synth.documents.sheet import printed_unit
from osler.synth.facts import Exam, PatientFacts
from osler.synth.ontology import load_ontology
from osler.synth.rendered import Render
from osler.synth.show_tiles import ExamTile, Plane, exam_tiles
from osler.synth.timeline import LabSeries, Span, Timeline, build_timeline, patient_id

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from osler.study import Box2D

_MOST_TILES, _MOST_LABELS, _MOST_LABS, _MOST_BARS, _MOST_LESIONS = 6, 2, 4, 12, 8
_INK, _MUTED, _GRID = "#20262e", "#6b7480", "#dde1e6"
_ACCENT, _ALARM, _BAND = "#ffb627", "#c0272d", "#dcefe3"
_BARS = {"condition": "#8a6fb0", "medication": "#3f88a5"}
_LINES = ("#c0572b", "#2c6e9b", "#4b8b3b", "#8a4f9e", "#b08a1e", "#2a8f84", "#9b2c5f", "#5c6470")
_LABELS = -0.225  # where names of panels and bars start, in widths of the panel
_WIDTH, _HEIGHT, _DPI = 16.0, 11.3, 110


@dataclass(frozen=True, slots=True, kw_only=True)
class _Course:
    """The size of one lesion over time."""

    finding: str
    lesion: int
    name: str
    days: tuple[int, ...]
    sizes: tuple[int, ...]
    gone: int | None


def draw_patient_page(
    patient: PatientFacts,
    *,
    render: Render | None = None,
    report_text: Callable[[Exam], str] = exam_sentence,
    dpi: int = _DPI,
) -> bytes:
    """Draws the page.

    Args:
        patient: The facts.
        render: Draws an exam; without it the page has no pictures.
        report_text: Gives the text of an exam's report.
        dpi: Dots per inch of a page 16 inches wide.

    Returns:
        A PNG.

    Raises:
        RequestError: If matplotlib is not installed.
    """
    import_extra("matplotlib", extra="synth")
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(_WIDTH, _HEIGHT), facecolor="white")
    FigureCanvasAgg(figure)
    timeline = build_timeline(patient)
    _title(figure, patient)
    tiles = _tiles(patient, render=render)
    top = 0.885
    if tiles:
        top = _pictures(figure, tiles, top=top)
    _report(figure, patient.exams[-1], text=report_text(patient.exams[-1]), top=top)
    _courses(figure, patient, timeline=timeline, top=top)
    figure.text(0.03, 0.014, "Synthetic patient made by Osler: no real person. Not for care.", size=8.5, color=_MUTED)
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=dpi, metadata={"Software": "Osler"})
    return buffer.getvalue()


def _title(figure: Figure, patient: PatientFacts) -> None:
    who = {"female": "woman", "male": "man"}[patient.sex]
    figure.text(0.03, 0.955, patient_id(patient), size=22, weight="bold", color=_INK)
    body = patient.anatomy
    about = f"{who}, {patient.age} years, {body.height_cm:.0f} cm, {body.weight_kg:.0f} kg"
    exams = f"{len(patient.exams)} {'exam' if len(patient.exams) == 1 else 'exams'}"
    span = patient.exams[-1].day - patient.exams[0].day
    over = f" over {span} days" if span else ""
    figure.text(
        0.03, 0.93, f"{about}   ·   {exams}{over}   ·   {len(patient.labs)} laboratory values", size=12, color=_MUTED
    )


def _tiles(patient: PatientFacts, *, render: Render | None) -> list[ExamTile]:
    if render is None:
        return []
    chosen = patient.exams[-_MOST_TILES:]
    prefer = [(course.finding, course.lesion) for course in lesion_courses(patient)]
    tiles = [
        tile
        for exam in chosen
        for tile in exam_tiles(render(patient, exam), exam=exam, planes=_planes(chosen), prefer=prefer)
    ]
    return tiles[:_MOST_TILES]


def _planes(exams: Sequence[Exam]) -> tuple[Plane, ...]:
    """Few exams leave room for cuts across the slices."""
    if len(exams) == 1:
        return "axial", "coronal", "sagittal"
    return ("axial", "coronal") if len(exams) == 2 else ("axial",)


def _pictures(figure: Figure, tiles: Sequence[ExamTile], *, top: float) -> float:
    """Draws the pictures in a row; returns where the rest may start."""
    names = {entry.key: entry.name for entry in load_ontology().protocols}
    count = max(len(tiles), 4)
    gap = 0.01
    width = min((0.94 - gap * (count - 1)) / count, 0.225)
    height = width * _WIDTH / _HEIGHT
    for number, tile in enumerate(tiles):
        axes = figure.add_axes((0.03 + number * (width + gap), top - height, width, height))
        _picture(axes, tile)
        title = f"day {tile.exam.day}  ·  {tile.caption}"
        axes.set_title(textwrap.shorten(title, 46), size=9.5, color=_INK, loc="left", pad=4, weight="bold")
        name = textwrap.shorten(names[tile.exam.protocol], 44, placeholder="…")
        axes.set_xlabel(name, size=8.5, color=_MUTED, labelpad=4)
    return top - height - 0.055


def _picture(axes: Axes, tile: ExamTile) -> None:
    from matplotlib.patches import Rectangle
    from matplotlib.patheffects import withStroke

    axes.set_facecolor("black")
    rows, columns = tile.pixels.shape[:2]
    axes.imshow(tile.pixels, cmap="gray", vmin=0, vmax=255, aspect=tile.aspect, interpolation="bilinear")
    labeled: list[Box2D] = []
    for place, (label, box) in enumerate(tile.boxes):
        axes.add_patch(
            Rectangle(
                (box.x0 - 0.5, box.y0 - 0.5),
                box.x1 - box.x0,
                box.y1 - box.y0,
                fill=False,
                edgecolor=_ACCENT,
                linewidth=1.5 if place < _MOST_LABELS else 0.8,
            )
        )
        near = any(abs(box.y0 - other.y0) < 0.08 * rows and abs(box.x0 - other.x0) < 0.6 * columns for other in labeled)
        if place >= _MOST_LABELS or near:
            continue
        labeled.append(box)
        rightward = box.x0 + box.x1 < columns
        below = box.y0 < rows * 0.1
        axes.annotate(
            textwrap.shorten(label, 30, placeholder="…"),
            (box.x0 - 0.5 if rightward else box.x1 - 0.5, box.y1 if below else box.y0),
            xytext=(0, -9 if below else 3),
            textcoords="offset points",
            ha="left" if rightward else "right",
            size=7.5,
            color=_ACCENT,
            weight="bold",
            path_effects=[withStroke(linewidth=1.6, foreground="black")],
        )
    axes.set_xticks([])
    axes.set_yticks([])
    axes.set_box_aspect(1)
    axes.set_anchor("C")


def _report(figure: Figure, exam: Exam, *, text: str, top: float) -> None:
    """The report of the last exam in a box at the right."""
    from matplotlib.patches import FancyBboxPatch

    left, width, bottom = 0.665, 0.305, 0.045
    axes = figure.add_axes((left, bottom, width, top - bottom))
    axes.set_axis_off()
    axes.set_xlim(0, 1)
    axes.set_ylim(0, 1)
    axes.add_patch(
        FancyBboxPatch(
            (0.01, 0.01),
            0.98,
            0.98,
            boxstyle="round,pad=0,rounding_size=0.015",
            facecolor="#f7f5ef",
            edgecolor="#e3ddcc",
            mutation_aspect=width * _WIDTH / ((top - bottom) * _HEIGHT),
        )
    )
    axes.text(0.05, 0.955, f"Report, day {exam.day}", size=11, weight="bold", color=_INK, va="top")
    height = (top - bottom) * _HEIGHT * 72
    size, lines = _fitting(text, room=height - 62, width=0.9 * width * _WIDTH * 72)
    axes.text(
        0.05, 1 - 44 / height, "\n".join(lines), size=size, color=_INK, va="top", linespacing=1.36, family="serif"
    )


def _fitting(text: str, *, room: float, width: float) -> tuple[float, list[str]]:
    """The greatest font size at which a text fits a height and width (points), and its lines; cut if none does."""
    for size in (9.4, 8.8, 8.2, 7.6, 7.0, 6.4):
        lines = [
            line for paragraph in text.strip().splitlines() for line in _wrapped(paragraph, size=size, width=width)
        ]
        most = int(room / (size * 1.58))
        if len(lines) <= most:
            return size, lines
    return size, [*lines[: most - 1], "…"]


def _wrapped(paragraph: str, *, size: float, width: float) -> list[str]:
    """Breaks a paragraph into lines of at most ``width`` points."""
    from matplotlib.font_manager import FontProperties
    from matplotlib.textpath import TextToPath

    font, measure = FontProperties(family="serif", size=size), TextToPath().get_text_width_height_descent
    lines, line = [], ""
    for word in paragraph.split(" "):
        longer = f"{line} {word}" if line else word
        if line and measure(longer, font, ismath=False)[0] > width:
            lines.append(line)
            line = word
        else:
            line = longer
    return [*lines, line]


def _courses(figure: Figure, patient: PatientFacts, *, timeline: Timeline, top: float) -> None:
    """The panels over time at the left: lesions, labs, diagnoses and drugs."""
    lesions = lesion_courses(patient)
    labs = sorted(timeline.labs, key=lambda one: len(one.values) < 2)[:_MOST_LABS]
    bars = _chosen_bars(timeline)
    heights = [1.6] * bool(lesions) + [1.0] * len(labs) + [0.28 * len(bars) + 0.4] * bool(bars)
    if not heights:
        return
    left, width, bottom, gap = 0.145, 0.495, 0.075, 0.022
    top -= 0.017 * -(-len(lesions) // 2)  # room for the names of the lesions above their panel
    share = (top - bottom - gap * (len(heights) - 1)) / sum(heights)
    scale = min(share, 0.14)
    y = top
    days = [exam.day for exam in patient.exams]
    reach = max(timeline.last - timeline.first, 30)
    limits = (timeline.first - 0.06 * reach, timeline.last + 0.06 * reach)
    panels: list[tuple[Callable[..., None], Any]] = []
    panels += [(_draw_lesions, lesions)] * bool(lesions) + [(_draw_lab, lab) for lab in labs]
    panels += [(_draw_bars, bars)] * bool(bars)
    for number, ((draw, content), part) in enumerate(zip(panels, heights, strict=True)):
        height = part * scale
        axes = figure.add_axes((left, y - height, width, height))
        _style(axes, limits=limits, exams=days, last=number == len(panels) - 1)
        draw(axes, content)
        y -= height + gap


def _style(axes: Axes, *, limits: tuple[float, float], exams: Sequence[int], last: bool) -> None:
    axes.set_xlim(*limits)
    for side in ("top", "right", "left"):
        axes.spines[side].set_visible(False)
    axes.spines["bottom"].set_color(_GRID)
    axes.tick_params(axis="both", labelsize=8, colors=_MUTED, length=2)
    for day in exams:
        axes.axvline(day, color=_GRID, linewidth=1, zorder=0)
    if last:
        axes.set_xlabel("days since the first exam (gray lines: exams)", size=8.5, color=_MUTED)
    else:
        axes.set_xticklabels([])


def _heading(axes: Axes, text: str, *, under: str) -> None:
    """The name of a panel at its left, wrapped, and a unit below it."""
    lines = textwrap.wrap(text, 17)
    for line, (words, size, weight, color) in enumerate(
        [*((words, 9.5, "bold", _INK) for words in lines), (under, 8.0, "normal", _MUTED)]
    ):
        axes.annotate(
            words,
            (_LABELS, 1),
            xycoords="axes fraction",
            xytext=(0, -11.5 * line),
            textcoords="offset points",
            size=size,
            weight=weight,
            color=color,
            va="top",
        )


def lesion_courses(patient: PatientFacts) -> list[_Course]:
    """The sizes of measured lesions over the exams, those that change most first; at most `_MOST_LESIONS`."""
    seen: dict[tuple[str, int], list[tuple[int, int]]] = {}
    gone: dict[tuple[str, int], int] = {}
    sites: dict[tuple[str, int], str] = {}
    for exam in patient.exams:
        for fact in exam.findings:
            key = (fact.key, fact.lesion)
            if fact.size_mm is not None:
                seen.setdefault(key, []).append((exam.day, fact.size_mm))
                sites[key] = fact.site.replace("-", " ")
            elif fact.change == "resolved":
                gone[key] = exam.day
    courses = [
        _Course(
            finding=key[0],
            lesion=key[1],
            name=", ".join(part for part in (finding_name(key[0]), sites[key]) if part),
            days=tuple(day for day, _ in points),
            sizes=tuple(size for _, size in points),
            gone=gone.get(key),
        )
        for key, points in seen.items()
    ]
    return sorted(courses, key=lambda one: (min(one.sizes) - max(one.sizes), -max(one.sizes)))[:_MOST_LESIONS]


def _draw_lesions(axes: Axes, lesions: Sequence[_Course]) -> None:
    _heading(axes, "Lesions", under="diameter, mm")
    most = max(max(course.sizes) for course in lesions)
    axes.set_ylim(0, most * 1.12)
    for number, course in enumerate(lesions):
        color = _LINES[number % len(_LINES)]
        days, sizes = list(course.days), list(course.sizes)
        axes.plot(days, sizes, color=color, marker="o", markersize=5, linewidth=1.6, label=course.name, clip_on=False)
        if course.gone is not None:
            axes.plot([days[-1], course.gone], [sizes[-1], 0], color=color, linewidth=1.2, linestyle=":")
            axes.plot([course.gone], [0], color=color, marker="x", markersize=6, clip_on=False)
    axes.legend(
        fontsize=7.5,
        frameon=False,
        loc="lower left",
        bbox_to_anchor=(0, 1.0),
        ncols=2,
        labelcolor=_INK,
        borderaxespad=0,
        handlelength=1.4,
        labelspacing=0.25,
    )


def _draw_lab(axes: Axes, lab: LabSeries) -> None:
    values = lab.values
    last = values[-1]
    _heading(axes, lab.name, under=printed_unit(last.unit))
    numbers = [value.value for value in values]
    low, high = last.reference.low, last.reference.high
    ends = [*numbers, *(end for end in (low, high) if end is not None)]
    room = (max(ends) - min(ends)) * 0.22 or max(ends) * 0.2 or 1.0
    axes.set_ylim(0 if low is None else max(min(ends) - room, 0), max(ends) + room)
    floor, ceiling = axes.get_ylim()
    axes.axhspan(floor if low is None else low, ceiling if high is None else high, color=_BAND, zorder=0, linewidth=0)
    axes.plot([value.day for value in values], numbers, color=_INK, linewidth=1.2)
    apart = (axes.get_xlim()[1] - axes.get_xlim()[0]) * 0.03
    for value, after in itertools.zip_longest(values, values[1:]):
        color = _INK if value.flag == "normal" else _ALARM
        axes.plot([value.day], [value.value], marker="o", markersize=4.6, color=color, clip_on=False)
        if after is None or after.day - value.day > apart:
            text = f"{value.value:g}"
            axes.annotate(
                text, (value.day, value.value), xytext=(5, 3), textcoords="offset points", size=7.5, color=color
            )
    axes.locator_params(axis="y", nbins=3)


def _chosen_bars(timeline: Timeline) -> list[Span]:
    """Diagnoses and drugs; those that touch the drawn time first, and not more than fit."""
    spans = [*timeline.conditions, *timeline.medications]
    touching = [
        span for span in spans if span.start <= timeline.last and (span.stop is None or span.stop >= timeline.first)
    ]
    return touching[:_MOST_BARS]


def _draw_bars(axes: Axes, bars: Sequence[Span]) -> None:
    low, high = axes.get_xlim()
    axes.set_ylim(len(bars) - 0.4, -0.6)
    axes.set_yticks([])
    for row, span in enumerate(bars):
        start, stop = max(span.start, low), min(high if span.stop is None else span.stop, high)
        stop = max(stop, start + (high - low) * 0.004)
        axes.barh(row, stop - start, left=start, height=0.62, color=_BARS[span.kind], alpha=0.85, linewidth=0)
        name = textwrap.shorten(span.name, 40, placeholder="…")
        axes.text(
            _LABELS, row, name, transform=axes.get_yaxis_transform(), size=min(8.0, 8.0 * 24 / len(name)),
            color=_BARS[span.kind], va="center", ha="left", weight="bold",
        )  # fmt: skip
        if span.start < low:
            axes.text(start, row, "◀", size=6, color="white", va="center", ha="left")
