"""The page of `benchmarks.quantisation`: a table, and the curve of bytes against quality as SVG."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from html import escape
from typing import Any

Row = Mapping[str, Any]

_WIDTH, _HEIGHT, _LEFT, _BOTTOM, _TOP, _RIGHT = 860, 460, 70, 50, 20, 30
_COLORS = {"none": "#b4532a", "awq": "#8a6fb0", "gptq": "#1f6f8b", "awq-gptq": "#3a7d44"}


def table(rows: Sequence[Row]) -> str:
    """Writes the rows in Markdown."""
    lines = [
        "| Weights | Rounding | MB | divergence from float32, nats | same likeliest token | perplexity |",
        "|---|---|---|---|---|---|",
    ]
    for row in rows:
        kl, same, perplexity = row["kl"], row["same"], row["perplexity"]
        lines.append(
            f"| {row['name']} | {row['method']} | {row['bytes'] / 1e6:.0f} | {kl[0]:.4f} ({kl[1]:.4f} to {kl[2]:.4f}) "
            f"| {same[0]:.1%} ({same[1]:.1%} to {same[2]:.1%}) "
            f"| {perplexity[0]:.2f} ({perplexity[1]:.2f} to {perplexity[2]:.2f}) |"
        )
    return "\n".join(lines)


def curve(rows: Sequence[Row]) -> str:
    """Draws divergence against bytes; the line joins the variants that no other beats in both."""
    shown = [row for row in rows if row["kl"][0] > 1e-4]
    sizes, losses = [row["bytes"] / 1e6 for row in shown], [math.log10(row["kl"][0]) for row in shown]
    low, high = math.floor(min(sizes) / 20) * 20, math.ceil(max(sizes) / 20) * 20
    least, most = math.floor(min(losses)), math.ceil(max(losses))

    def at(size: float, loss: float) -> tuple[float, float]:
        x = _LEFT + (size - low) / (high - low) * (_WIDTH - _LEFT - _RIGHT)
        return x, _TOP + (most - loss) / (most - least) * (_HEIGHT - _TOP - _BOTTOM)

    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {_WIDTH} {_HEIGHT}" font-family="sans-serif" '
        'font-size="11">',
        f'<rect width="{_WIDTH}" height="{_HEIGHT}" fill="white"/>',
    ]
    for power in range(least, most + 1):
        x, y = at(low, power)
        parts.append(f'<line x1="{x}" y1="{y:.1f}" x2="{_WIDTH - _RIGHT}" y2="{y:.1f}" stroke="#ddd"/>')
        parts.append(f'<text x="{x - 8}" y="{y + 4:.1f}" text-anchor="end">{10.0**power:g}</text>')
    for size in range(low, high + 1, 20 if high - low <= 200 else 50):
        x, y = at(size, least)
        parts.append(f'<text x="{x:.1f}" y="{y + 16:.1f}" text-anchor="middle">{size}</text>')
    best = [at(size, loss) for size, loss in _front(list(zip(sizes, losses, strict=True)))]
    parts.append(
        f'<polyline points="{" ".join(f"{x:.1f},{y:.1f}" for x, y in best)}" fill="none" stroke="#999" '
        'stroke-dasharray="4 3"/>'
    )
    for row, size, loss in zip(shown, sizes, losses, strict=True):
        x, y = at(size, loss)
        left = x > _WIDTH * 0.7
        parts.append(f'<circle cx="{x:.1f}" cy="{y:.1f}" r="4" fill="{_COLORS[row["method"]]}"/>')
        parts.append(
            f'<text x="{x + (-8 if left else 8):.1f}" y="{y + 4:.1f}" text-anchor="{"end" if left else "start"}">'
            f"{escape(row['name'])}</text>"
        )
    middle = (_LEFT + _WIDTH - _RIGHT) / 2
    parts.append(
        f'<text x="{middle}" y="{_HEIGHT - 12}" text-anchor="middle">MB of the decoder, embedding included</text>'
    )
    parts.append(
        f'<text x="16" y="{_HEIGHT / 2}" text-anchor="middle" transform="rotate(-90 16 {_HEIGHT / 2})">'
        "divergence from float32, nats a token</text>"
    )
    return "\n".join([*parts, "</svg>"]) + "\n"


def _front(points: Sequence[tuple[float, float]]) -> list[tuple[float, float]]:
    """The points that no other point beats in size and loss, by size."""
    front: list[tuple[float, float]] = []
    for size, loss in sorted(points):
        if not front or loss < front[-1][1]:
            front.append((size, loss))
    return front
