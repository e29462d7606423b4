"""The page and the curves of `benchmarks.volume_cost`."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from benchmarks.volume_cost import HEADLINE, WAYS, Cost, costs_of, ratio, rounded

_TITLES = {"mini": "Osler-mini", "4b": "the 4B shape"}
_COLORS = {"slices": "#b5482a", "slabs": "#1f6f8b"}


def page(record: Mapping[str, Any], *, picture: str) -> str:
    """Returns the Markdown of what was measured."""
    blocks = [
        "# What a volume costs, slice by slice and as slabs",
        "`python -m benchmarks.volume_cost --part mini --out benchmarks/volume_cost` and the same with `--part 4b`.",
        f"![Tokens, operations, seconds and memory against depth]({picture})",
        "*Slices*: at most 85 slices, each an image of its own. *Slabs*: `--visual-tokens`, up to 85 slabs of four "
        "slices, merged along three axes into the budget. From 85 slices on the slices recipe leaves slices out; "
        "slabs read all up to 340, and 340 evenly spread beyond.",
    ]
    for name in ("4b", "mini"):
        if name in record:
            blocks += _part(name, record[name])
    return "\n\n".join(blocks) + "\n"


def _part(name: str, part: Mapping[str, Any]) -> list[str]:
    costs = costs_of(part)
    blocks = [f"## {_TITLES[name][0].upper()}{_TITLES[name][1:]}, {part['budget']} visual tokens", _headline(costs)]
    blocks.append(_table(costs, timed=name == "mini"))
    if name == "4b":
        blocks += [_measured(part["measured"])]
    else:
        blocks.append(
            f"All measured ({part['clock']}), the two ways in turns. Memory is the most of its own that the process "
            "took in a stage beyond what it held at the stage's start (pictures, features, keys and values, scratch)."
        )
    blocks.append(
        f"Machine, {part['threads']} thread, at low priority while other programs used the same cores "
        f"({part['clock']}; {part['run_seconds']} s in all). Seconds are above those of an idle machine, so ratios "
        f"count; the rates below are by the wall clock:\n\n{part['machine']}"
    )
    return blocks


def _headline(costs: Sequence[Cost]) -> str:
    """The ratios at 85 slices."""
    parts: list[tuple[str, Callable[[Cost], float]]] = [
        ("soft tokens", lambda cost: cost.tokens),
        ("tokens of the prompt", lambda cost: cost.prompt),
        ("operations of the decoder", lambda cost: cost.flops["decoder"]),
        ("seconds of the decoder", lambda cost: cost.seconds["decoder"]),
        ("keys and values", lambda cost: cost.cache),
        ("operations of the tower", lambda cost: cost.flops["tower"]),
        ("seconds of the tower", lambda cost: cost.seconds["tower"]),
        ("all operations", lambda cost: sum(cost.flops.values())),
        ("seconds of tower and decoder", lambda cost: cost.seconds["tower"] + cost.seconds["decoder"]),
    ]
    lines = [f"At {HEADLINE} slices:", "", "| | slices | slabs | times less |", "|---|---:|---:|---:|"]
    for title, of in parts:
        found = {cost.way: of(cost) for cost in costs if cost.depth == HEADLINE}
        values = [_shown(title, found[way]) for way in WAYS]
        lines.append(f"| {title} | {values[0]} | {values[1]} | {ratio(costs, depth=HEADLINE, of=of):.1f} |")
    return "\n".join(lines)


def _shown(title: str, value: float) -> str:
    if "operations" in title:
        return f"{rounded(value / 1e12)} T"
    if title == "keys and values":
        return f"{rounded(value / 1e6)} MB"
    return f"{rounded(value)} s" if "seconds" in title else f"{value:,}"


def _table(costs: Sequence[Cost], *, timed: bool) -> str:
    head = [
        "slices of the volume",
        "way",
        "encoded",
        "soft tokens",
        "prompt",
        "tower, T",
        "decoder, T",
        "keys and values, MB",
    ]
    head += ["prepare, s", "tower, s", "decoder, s", "memory, MB"] if timed else []
    lines = [f"| {' | '.join(head)} |", f"|{'---:|' * len(head)}"]
    for cost in costs:
        row = [f"{cost.depth:,}", cost.way, str(cost.encoded), f"{cost.tokens:,}", f"{cost.prompt:,}"]
        row += [rounded(cost.flops["tower"] / 1e12), rounded(cost.flops["decoder"] / 1e12), rounded(cost.cache / 1e6)]
        if timed:
            row += [rounded(cost.seconds[stage]) for stage in ("prepare", "tower", "decoder")]
            row.append(rounded(cost.peak / 1e6))
        lines.append(f"| {' | '.join(row)} |")
    return "\n".join(lines)


def _measured(found: Mapping[str, Any]) -> str:
    tower, layers = found["tower_seconds"], found["layer_seconds"]
    lines = [
        "Measured, random weights in bfloat16: "
        f"one image through the whole tower {tower['image']:.1f} s, one slab of four slices {tower['slab']:.1f} s;",
    ]
    for way in WAYS:
        one = layers[way]
        lines.append(
            f"the prompt of the {way} way, {one['read']:,.0f} of its {one['tokens']:,.0f} tokens in chunks of up to "
            f"512, each after all that comes before it: {one['sliding']:.2f} s for the whole prompt in a sliding layer "
            f"and {one['global']:.2f} s in a global one;"
        )
    lines.append(
        "multiplied out: 85 images or 22 slabs, 29 sliding and 5 global layers. Mixing layers are counted in the "
        "operations of slabs, and are not part of the seconds of a slab."
    )
    return "\n".join(lines)


def draw(record: Mapping[str, Any], *, path: Path) -> None:
    """Draws the curves as SVG."""
    import matplotlib

    matplotlib.use("Agg")
    matplotlib.rcParams["svg.hashsalt"] = "osler"
    import matplotlib.pyplot as plt

    names = [name for name in ("4b", "mini") if name in record]
    figure, axes = plt.subplots(len(names), 4, figsize=(15, 3.4 * len(names)), squeeze=False)
    for row, name in zip(axes, names, strict=True):
        costs = costs_of(record[name])
        timed = all(cost.seconds for cost in costs)
        last = ("seconds, all stages", lambda c: sum(c.seconds.values())) if timed else _tower_panel()
        memory = ("memory, MB", lambda c: c.peak / 1e6) if timed else ("keys and values, MB", lambda c: c.cache / 1e6)
        panels: list[tuple[str, Callable[[Cost], float]]] = [
            ("tokens of the prompt", lambda c: c.prompt),
            ("operations of the decoder, T", lambda c: c.flops["decoder"] / 1e12),
            last,
            memory,
        ]
        for axis, (title, of) in zip(row, panels, strict=True):
            for way in WAYS:
                some = [cost for cost in costs if cost.way == way]
                axis.plot([c.depth for c in some], [of(c) for c in some], "o-", color=_COLORS[way], label=way, ms=4)
            axis.axvline(HEADLINE, color="#999999", lw=0.8, ls=":")
            axis.set_xscale("log")
            axis.set_ylim(bottom=0)
            axis.set_title(f"{_TITLES[name]}: {title}", fontsize=9)
            axis.set_xlabel("slices of the volume", fontsize=8)
            axis.tick_params(labelsize=8)
        row[0].legend(fontsize=8, frameon=False)
    figure.tight_layout()
    figure.savefig(path, metadata={"Date": None})
    plt.close(figure)


def _tower_panel() -> tuple[str, Callable[[Cost], float]]:
    return "operations of the tower, T", lambda c: c.flops["tower"] / 1e12
