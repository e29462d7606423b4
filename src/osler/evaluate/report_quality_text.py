"""The measured quality of reports as Markdown, and the curve of variety as SVG."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

_WIDTH, _HEIGHT, _MARGIN = 560, 320, 60


def markdown(record: dict[str, Any]) -> str:
    """Writes the tables of what was measured; steps that were not run are left out."""
    lines = [
        "# Quality of the synthetic reports",
        "",
        f"{record['reports']:,} reports in {record['shards']:,} shards, commit {record['commit']}. "
        f"Reproduce: `{record['command']}`. Peak memory {record['peak_mb']:,} MB.",
    ]
    parts = {
        "read-back": _read_back, "duplicates": _duplicates, "near": _near, "variety": _variety, "identity": _identity,
    }  # fmt: skip
    for name, write in parts.items():
        if name in record:
            lines += ["", *write(record[name])]
    return "\n".join(lines) + "\n"


def _read_back(part: dict[str, Any]) -> list[str]:
    lines = [
        "## Read back",
        "",
        f"An independent reader, without access to seed or wording, over {part['reports']:,} reports: "
        f"**{part['recovered']:.3%}** of findings, denials, sides, sizes and changes recovered "
        f"({part['reports_per_second']:,} reports a second).",
        "",
        "| Kind | In the facts | Recovered | Share | Read | Right of these |",
        "|---|---|---|---|---|---|",
    ]
    lines += [
        f"| {kind} | {row['truth']:,} | {row['right']:,} | {row['recall']:.3%} | {row['read']:,} | "
        f"{row['precision']:.3%} |"
        for kind, row in part["kinds"].items()
    ]
    lines += ["", "| What failed | Count |", "|---|---|"]
    lines += [f"| {kind} | {count:,} |" for kind, count in part["failures"].items()] or ["| nothing | 0 |"]
    if part["failures"]:
        lines += ["", "| Most often | Count |", "|---|---|"]
        lines += [f"| {name} | {count:,} |" for name, count in list(part["by_finding"].items())[:12]]
    return lines


def _duplicates(part: dict[str, Any]) -> list[str]:
    lines = [
        "## Exact duplicates",
        "",
        f"{part['repeated']:,} of {part['reports']:,} reports repeat another one: **{part['share']:.4%}** "
        f"(aim: under 0.1%), in {part['groups']:,} groups.",
    ]
    for entry in part["commonest"]:
        lines += ["", f"{entry['copies']:,} copies:", "", *_quoted(entry["text"])]
    return lines


def _near(part: dict[str, Any]) -> list[str]:
    return [
        "## Near duplicates",
        "",
        f"{part['near']:,} of a sample of {part['reports']:,} have an earlier report with a Jaccard index over 0.9 of "
        f"5-word shingles: **{part['share']:.3%}** (aim: under 2%). {part['verified']:,} pairs were compared; "
        f"{part['too_short']:,} reports are too short for shingles; {part['capped']:,} places held more than 64 alike.",
    ]


def _variety(part: dict[str, Any]) -> list[str]:
    lines = [
        "## Variety",
        "",
        "| Reports | Words | 4-grams | Distinct 4-grams | New 4-grams a report since the row before |",
        "|---|---|---|---|---|",
    ]
    before = {"reports": 0, "distinct": 0}
    for point in part["curve"]:
        fresh = (point["distinct"] - before["distinct"]) / (point["reports"] - before["reports"])
        lines.append(
            f"| {point['reports']:,} | {point['words']:,} | {point['grams']:,} | {point['distinct']:,} | {fresh:.1f} |"
        )
        before = point
    lines += ["", "| Section | Texts | Mean words | 5% | 50% | 95% |", "|---|---|---|---|---|---|"]
    lines += [
        f"| {name} | {row['count']:,} | {row['mean']} | {row['p5']} | {row['p50']} | {row['p95']} |"
        for name, row in part["lengths"].items()
    ]
    if "radiographs" in part:
        lines += _real(part)
    return lines


def _real(part: dict[str, Any]) -> list[str]:
    lines = [
        "",
        "Findings and impression of chest radiographs, beside real ones (Indiana University; evaluation only):",
        "",
        "| | Reports | Mean words | 5% | 50% | 95% | Vocabulary | In equal words: words | vocabulary "
        "| distinct 4-grams |",
        "|---|---|---|---|---|---|---|---|---|---|",
    ]
    for name, row in part["radiographs"].items():
        equal = row["equal"]
        lines.append(
            f"| {name} | {row['count']:,} | {row['mean']} | {row['p5']} | {row['p50']} | {row['p95']} | "
            f"{row['vocabulary']:,} | {equal['words']:,} | {equal['vocabulary']:,} | {equal['distinct_4_grams']:,} |"
        )
    both = part["overlap"]
    lines += [
        "",
        f"Our words cover {both['covered']:.1%} of the real running words; {both['foreign']:.1%} of ours stand in no "
        f"real report. Commonest real words that ours lack: {', '.join(both['missing'][:25])}.",
        "",
        "The reader on these real reports, beside the MeSH headings of their indexers (who leave out what is minor):",
        "",
        "| Finding | Indexed | Read | Both |",
        "|---|---|---|---|",
    ]
    lines += [f"| {key} | {row['indexed']} | {row['read']} | {row['both']} |" for key, row in part["indexed"].items()]
    return lines


def _identity(part: dict[str, Any]) -> list[str]:
    lines = [
        "## Identity",
        "",
        f"{part['records']:,} records (report, facts and header) scanned; planted ones show that the scan finds.",
        "",
        "| Kind | Found | Planted | Planted ones found |",
        "|---|---|---|---|",
    ]
    lines += [
        f"| {kind} | **{count:,}** | {part['planted'][kind]:,} | {part['planted_found'][kind]:,} |"
        for kind, count in part["found"].items()
    ]
    if part["examples"]:
        lines += ["", "Found: " + ", ".join(f"{hit['kind']} {hit['text']!r}" for hit in part["examples"][:20]) + "."]
    return lines


def _quoted(text: str) -> list[str]:
    return [f"> {line}" if line.strip() else ">" for line in text.strip().splitlines()[:12]]


def curve_svg(part: dict[str, Any]) -> str:
    """Draws distinct 4-grams against reports, both axes logarithmic."""
    points = [(point["reports"], point["distinct"]) for point in part["curve"] if point["distinct"]]
    if len(points) < 2:
        points = [(1, 1), *points] if points else [(1, 1), (10, 10)]
    across, up = (_scale([point[axis] for point in points]) for axis in (0, 1))
    width, height = _WIDTH - 2 * _MARGIN, _HEIGHT - 2 * _MARGIN
    places = [(_MARGIN + width * _share(x, across), _HEIGHT - _MARGIN - height * _share(y, up)) for x, y in points]
    drawn = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {_WIDTH} {_HEIGHT}" '
        'font-family="sans-serif" font-size="12">',
        f'<rect width="{_WIDTH}" height="{_HEIGHT}" fill="white"/>',
    ]
    for power in range(across[0], across[1] + 1):
        x = _MARGIN + width * _share(10**power, across)
        drawn.append(f'<path d="M{x:.1f} {_MARGIN}V{_HEIGHT - _MARGIN}" stroke="#ddd"/>')
        drawn.append(f'<text x="{x:.1f}" y="{_HEIGHT - _MARGIN + 18}" text-anchor="middle">{10**power:,}</text>')
    for power in range(up[0], up[1] + 1):
        y = _HEIGHT - _MARGIN - height * _share(10**power, up)
        drawn.append(f'<path d="M{_MARGIN} {y:.1f}H{_WIDTH - _MARGIN}" stroke="#ddd"/>')
        drawn.append(f'<text x="{_MARGIN - 6}" y="{y + 4:.1f}" text-anchor="end">10^{power}</text>')
    line = " ".join(f"{x:.1f},{y:.1f}" for x, y in places)
    drawn.append(f'<polyline points="{line}" fill="none" stroke="#1f5fa8" stroke-width="2"/>')
    drawn += [f'<circle cx="{x:.1f}" cy="{y:.1f}" r="3" fill="#1f5fa8"/>' for x, y in places]
    drawn.append(f'<text x="{_WIDTH / 2}" y="{_HEIGHT - 18}" text-anchor="middle">Reports</text>')
    drawn.append(f'<text x="{_WIDTH / 2}" y="30" text-anchor="middle" font-size="14">Distinct 4-grams</text>')
    return "\n".join([*drawn, "</svg>"]) + "\n"


def _scale(values: Sequence[float]) -> tuple[int, int]:
    return math.floor(math.log10(min(values))), math.ceil(math.log10(max(values)) + 1e-9)


def _share(value: float, scale: tuple[int, int]) -> float:
    return (math.log10(value) - scale[0]) / max(scale[1] - scale[0], 1)
