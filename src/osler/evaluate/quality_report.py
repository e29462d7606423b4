"""The report on Osler-mini as Markdown."""

from __future__ import annotations

from typing import Any


def markdown(result: dict[str, Any]) -> str:
    """Writes tables of accuracy, errors, wordings and perplexity."""
    lines = [
        "# Quality of Osler-mini on held-out patients",
        "",
        f"Model `{result['model']}`, preprocessing `{result['preprocess']}`, {result['questions']} questions, "
        f"{result['seconds']:.0f} s. Reproduce: `python -m osler.evaluate.mini_quality --data DATA --out benchmarks`.",
        "",
        "Answers are generated greedily to questions worded as in no training template, and read by an independent",
        "reader; an answer that names no class or two is wrong. Intervals are 95%, patients resampled. *Blanked*: the",
        "same model and questions, every image replaced by one gray, which training teaches to call blank. *View* is",
        "AP or PA, where the set says which.",
        "",
        "| Asked | Set | Right | Share | 95% interval | Patients | Blanked |",
        "|---|---|---|---|---|---|---|",
    ]
    blanked = {(r["asked"], r["source"]): r for r in result["table"] if r["sight"] == "blanked"}
    for row in result["table"]:
        if row["sight"] != "seen":
            continue
        other = blanked.get((row["asked"], row["source"]))
        against = f"{other['right']}/{other['of']} = {other['share']:.1%}" if other else "-"
        name = f"**{row['source']}**" if row["source"] == "all" else row["source"]
        lines.append(
            f"| {row['asked']} | {name} | {row['right']}/{row['of']} | {row['share']:.1%} | "
            f"{row['low']:.1%} to {row['high']:.1%} | {row['patients']} | {against} |"
        )
    lines += _classes(result["classes"])
    lines += ["", "## What was said instead", "", "| Asked | Truth -> read | Count |", "|---|---|---|"]
    for asked, pairs in result["confusion"].items():
        lines += [f"| {asked} | {pair} | {count} |" for pair, count in pairs.items()]
    words = result["wordings"]
    lines += [
        "",
        "## Unseen wordings",
        "",
        f"{words['asked']} wordings, each asked once: {words['echo']} echoes, {words['loop']} loops, "
        f"{words['without_end']} without an end; {words['bad']} bad in all ({words['bad'] / words['asked']:.1%}).",
        "",
    ]
    lines += [f"- {entry['question']!r} -> {entry['answer']!r}" for entry in words["examples"]]
    lines += ["", "Text-only questions (the first ones):", ""]
    lines += [f"- {entry['question']} -> {entry['answer']}" for entry in words["text_only"]]
    lines += ["", "## Perplexity of the decoder", "", "| Text | Tokens | Before | After |", "|---|---|---|---|"]
    for name, entry in result["perplexity"].items():
        lines.append(f"| {name} | {entry['tokens']:,} | {entry['before']:.2f} | {entry['after']:.2f} |")
    return "\n".join(lines) + "\n"


def _classes(classes: dict[str, dict[str, dict[str, int]]]) -> list[str]:
    """Right answers by true class, and their mean, to which a class with few cases counts as much as any."""
    lines = ["", "## By true class", "", "| Asked | Class: right of all | Mean over classes | Always the commonest |"]
    lines.append("|---|---|---|---|")
    for asked, counts in classes.items():
        if not counts:
            continue
        cells = ", ".join(f"{name} {entry['right']}/{entry['of']}" for name, entry in counts.items())
        mean = sum(entry["right"] / entry["of"] for entry in counts.values()) / len(counts)
        commonest = max(entry["of"] for entry in counts.values()) / sum(entry["of"] for entry in counts.values())
        lines.append(f"| {asked} | {cells} | {mean:.1%} | {commonest:.1%} |")
    return lines
