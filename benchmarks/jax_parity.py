"""Compares the greedy answers of both backends in float32 on prompts with real images.

    python -m benchmarks.jax_parity --data ../shared/data --out benchmarks/jax_parity

Questions that radiologists asked about CT, MR and X-ray images (VQA-RAD), several
on each image, so that a kept prefix is used as well. Each backend answers in a
process of its own and notes its tokens and the distance between the two highest
logits at each; a run that was stopped goes on. Nothing is timed.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from benchmarks.machine import commit, cpu_features

BACKENDS = ("torch", "jax")
PROMPTS = 200
QUESTIONS = 4
TOKENS = 8


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, required=True, help="folder with vqa-rad/")
    parser.add_argument("--prompts", type=int, default=PROMPTS)
    parser.add_argument("--backend", choices=BACKENDS, help="only answer with this one, and do not compare")
    parser.add_argument("--out", type=Path, required=True, help="write OUT.md and OUT.json; OUT.BACKEND.jsonl grows")
    options = parser.parse_args()
    if options.backend:
        answer(options)
        return
    for backend in BACKENDS:
        command = [sys.executable, "-m", "benchmarks.jax_parity", "--data", str(options.data), "--backend", backend]
        command += ["--prompts", str(options.prompts), "--out", str(options.out)]
        subprocess.run(command, check=True)
    found = {backend: rows(options.out, backend) for backend in BACKENDS}
    record = compare(found, wanted=options.prompts)
    options.out.with_suffix(".json").write_text(json.dumps(record, indent=1), encoding="utf-8")
    options.out.with_suffix(".md").write_text(report(record), encoding="utf-8")
    sys.stdout.write(report(record))


def prompts(data: Path, *, count: int) -> Iterator[tuple[str, str]]:
    """Image and question, `QUESTIONS` on one image after the other, images in the order of their names."""
    by_image: dict[str, list[str]] = {}
    for entry in json.loads((data / "vqa-rad" / "questions.json").read_text(encoding="utf-8")):
        questions = by_image.setdefault(entry["image_name"], [])
        if entry["question"] not in questions:
            questions.append(entry["question"])
    pairs = [(image, question) for image in sorted(by_image) for question in by_image[image][:QUESTIONS]]
    yield from pairs[:count]


def answer(options: argparse.Namespace) -> None:
    """Answers what is not yet answered, and appends a line for each prompt."""
    import osler

    done = len(rows(options.out, options.backend))
    session = osler.load("osler-mini", bits=32, backend=options.backend, device="cpu", studies="memory")
    margins = watch(session.runner)
    study, shown = None, ""
    with place(options.out, options.backend).open("a", encoding="utf-8") as out:
        for image, question in list(prompts(options.data, count=options.prompts))[done:]:
            if image != shown:
                study, shown = osler.open_study(options.data / "vqa-rad" / "images" / Path(image).name), image
            margins.clear()
            text = session.ask(study, question, max_tokens=TOKENS).text
            # The last logits of the prompt are those of the first token.
            row = {"image": image, "question": question, "text": text, "steps": margins[-TOKENS:]}
            out.write(json.dumps(row) + "\n")
            out.flush()


def watch(runner: Any) -> list[tuple[int, float]]:
    """Notes the likeliest token and how far its logit is above the next, at every call of a runner."""
    seen: list[tuple[int, float]] = []

    def noting(function: Any) -> Any:
        def call(*args: Any, **options: Any) -> Any:
            logits_BV = function(*args, **options)
            values, tokens = logits_BV[0].float().topk(2)
            seen.append((int(tokens[0]), float(values[0] - values[1])))
            return logits_BV

        return call

    runner.read, runner.step = noting(runner.read), noting(runner.step)
    return seen


def place(out: Path, backend: str) -> Path:
    """Where the answers of a backend lie."""
    return out.with_name(f"{out.name}.{backend}.jsonl")


def rows(out: Path, backend: str) -> list[dict[str, Any]]:
    """Answers of a backend so far."""
    path = place(out, backend)
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()] if path.is_file() else []


def compare(found: dict[str, list[dict[str, Any]]], *, wanted: int) -> dict[str, Any]:
    """Counts equal answers, and finds the distance of the two highest logits where answers part."""
    pairs = list(zip(found["torch"], found["jax"], strict=False))
    differing, tokens, least = [], 0, float("inf")
    for theirs, ours in pairs:
        assert (theirs["image"], theirs["question"]) == (ours["image"], ours["question"])
        steps = list(zip(theirs["steps"], ours["steps"], strict=False))
        apart = next((n for n, (one, other) in enumerate(steps) if one[0] != other[0]), None)
        tokens += len(steps)
        least = min(least, *(one[1] for one, _ in steps))
        if theirs["text"] != ours["text"] or apart is not None:
            margin = None if apart is None else steps[apart][0][1]
            differing.append(
                {**{k: theirs[k] for k in ("image", "question", "text")}, "jax": ours["text"], "margin": margin}
            )
    return {
        "wanted": wanted,
        "prompts": len(pairs),
        "images": len({row["image"] for row in found["jax"][: len(pairs)]}),
        "equal": len(pairs) - len(differing),
        "tokens": tokens,
        "least_margin": least,
        "differing": differing,
        "commit": commit(),
        "cpu": list(cpu_features()),
        "cores": os.cpu_count(),
    }


def report(record: dict[str, Any]) -> str:
    """The result as Markdown."""
    lines = [
        "# The same answers from PyTorch and JAX",
        "",
        "Written by `python -m benchmarks.jax_parity --data ../shared/data --out benchmarks/jax_parity`.",
        f"Commit {record['commit']}; {record['cores']} cores ({', '.join(record['cpu'])}). "
        "Osler-mini in float32 on the CPU; greedy answers of at most "
        f"{TOKENS} tokens; questions of VQA-RAD (CC0) on their images.",
        "",
        f"**{record['equal']} of {record['prompts']} answers are equal, token by token** "
        f"({record['images']} images, {record['tokens']} tokens).",
        "",
        "The smallest distance between the two highest logits at any of these tokens was "
        f"{record['least_margin']:.2g}.",
    ]
    if record["prompts"] < record["wanted"]:
        lines += ["", f"The run was stopped before the {record['wanted']} prompts that it was to answer."]
    if record["differing"]:
        lines += [
            "",
            "| Image | Question | PyTorch | JAX | Distance of the two highest logits |",
            "|---|---|---|---|---|",
        ]
        lines += [
            f"| {row['image']} | {row['question']} | {row['text']} | {row['jax']} | {row['margin']} |"
            for row in record["differing"]
        ]
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    main()
