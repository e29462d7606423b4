"""The result of `osler evaluate` as Markdown and as lines for the terminal."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

_MODEL = "model"


def evaluation_markdown(record: dict[str, Any]) -> str:
    """Writes every set: its table, what failed, what went worst."""
    lines = [
        f"# Evaluation of {record['model']}",
        "",
        f"Osler {record['osler']}, prompts: {record['prompts']}, patients: {record['split']}, "
        f"limit: {record['limit'] or 'none'}, {record['seconds']:.0f} s.",
        f"Trained for: {', '.join(record['trained']) or 'nothing that is listed'}.",
        *([record["note"]] if record["note"] else []),
        "",
        "Values with 95% intervals from resampling patients. *Gain* is the model less a baseline, resampled in pairs.",
        "*Blanked*: the same questions on images without content.",
        "",
        "| Set | State | Cases | Failed | Seconds a case |",
        "|---|---|---|---|---|",
    ]
    for one in record["sets"]:
        pace = f"{one['seconds'] / one['asked']:.2f}" if one["asked"] else ""
        state = one["state"] if one["state"] == "measured" else f"{one['state']}: {one['why']}"
        cases = f"{one['asked']} of {one['cases']}" if one["cases"] else ""
        lines.append(f"| {one['name']} | {_cell(state)} | {cases} | {len(one['failed']) or ''} | {pace} |")
    for one in record["sets"]:
        if one["state"] == "measured":
            lines += ["", *_section(one)]
    return "\n".join(lines) + "\n"


def evaluation_text(record: dict[str, Any]) -> str:
    """A few lines a set, for the terminal: the measures over all rows."""
    lines = [f"{record['model']} ({record['prompts']} prompts, patients: {record['split']})"]
    for one in record["sets"]:
        if one["state"] != "measured":
            lines.append(f"{one['name']}: {one['state']} - {one['why']}")
            continue
        failed = f", {len(one['failed'])} failed" if one["failed"] else ""
        lines.append(f"{one['name']}: {one['asked']} of {one['cases']} cases{failed}")
        lines += [f"  {note}" for note in one["notes"] if note.startswith("NOT TRAINED")]
        for entry in one["measures"]:
            if entry["group"] == "all" and not entry["part"]:
                others = [
                    f"{name} {_number(found[0], entry)}" for name, found in entry["systems"].items() if name != _MODEL
                ]
                published = (
                    f"; MedGemma 1.5 4B as published {_number(entry['published'], entry)}"
                    if "published" in entry
                    else ""
                )
                against = f" ({', '.join(others)}{published})" if others or published else ""
                lines.append(f"  {entry['measure']}: {_estimate(entry['systems'].get(_MODEL), entry)}{against}")
    return "\n".join(lines)


def _section(one: dict[str, Any]) -> Iterator[str]:
    yield f"## {one['title']} (`{one['name']}`)"
    yield ""
    for note in one["notes"]:
        yield f"- {note}"
    baselines = list(dict.fromkeys(s for entry in one["measures"] for s in entry["systems"] if s != _MODEL))
    head = ["Measure", "Part", "Model", *[name.capitalize() for name in baselines]]
    head += [f"Gain over {name}" for name in baselines] + ["Rows", "Patients"]
    shown = any("published" in entry for entry in one["measures"])
    head += ["Published (MedGemma 1.5 4B)"] if shown else []
    yield ""
    yield f"| {' | '.join(head)} |"
    yield f"|{'---|' * len(head)}"
    for entry in one["measures"]:
        part = entry["part"] or ("**all**" if entry["group"] == "all" else entry["group"])
        cells = [entry["measure"], _cell(part), _estimate(entry["systems"].get(_MODEL), entry)]
        cells += [_number((entry["systems"].get(name) or [None])[0], entry) for name in baselines]
        cells += [_gain(entry["gains"].get(name), entry) for name in baselines]
        cells += [str(entry["rows"]), str(entry["patients"])]
        cells += [_number(entry.get("published"), entry)] if shown else []
        yield f"| {' | '.join(cells)} |"
    if one["failed"]:
        yield ""
        yield f"{len(one['failed'])} of {one['asked']} cases failed:"
        yield ""
        yield from (f"- `{entry['case']}`: {_cell(entry['why'])}" for entry in one["failed"][:20])
    if one["worst"]:
        yield ""
        yield "Worst cases" + (f" (![worst cases]({one['picture']})):" if one["picture"] else ":")
        yield ""
        for row in one["worst"]:
            asked, said, truth = (_cell(row[name])[:160] for name in ("asked", "said", "truth"))
            yield f"- `{row['case']}`, {asked}: said {said!r}, truth {truth!r}"


def _estimate(found: list[float | None] | None, entry: dict[str, Any]) -> str:
    if found is None or found[0] is None:
        return "-"
    if found[1] is None or found[2] is None or entry["patients"] < 2:
        return f"{_number(found[0], entry)} (no interval)"
    return f"{_number(found[0], entry)} ({_number(found[1], entry)} to {_number(found[2], entry)})"


def _gain(found: list[float | None] | None, entry: dict[str, Any]) -> str:
    if found is None or found[0] is None:
        return "-"
    texts = ["-" if number is None else _signed(number, entry) for number in found]
    return f"{texts[0]} ({texts[1]} to {texts[2]})" if entry["patients"] > 1 else texts[0]


def _signed(number: float, entry: dict[str, Any]) -> str:
    return f"{100 * number:+.1f}" if entry["unit"] == "share" else f"{number:+.2f}"


def _number(number: float | None, entry: dict[str, Any]) -> str:
    if number is None:
        return "-"
    return f"{number:.1%}" if entry["unit"] == "share" else f"{number:.2f}"


def _cell(text: str) -> str:
    return " ".join(text.split()).replace("|", "/")
