"""Measures report shards: are they true, different, varied, and free of identity.

    python -m benchmarks.synth_quality SHARDS --out benchmarks/synth_quality.md --json

- read back: an independent reader turns the first 100,000 reports into facts again; a fact
  is recovered if finding, denial, side, size or change is what the report was written from.
- duplicates: exact ones over all reports, near ones (5-word shingles, Jaccard over 0.9) in a
  sample of 1,000,000 from shards spread evenly over the collection.
- variety: distinct 4-grams as reports are added, lengths, vocabulary; beside them the real
  chest radiograph reports of Indiana University (`--real FILE`, evaluation only), cut to
  the same number of words.
- identity: patterns and suspect words over report, facts and header of 1,000,000 reports;
  the same scan must find every identifier that is planted into copies.
"""

from __future__ import annotations

import argparse
import json
import random
import resource
import sys
import time
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator
from dataclasses import asdict
from itertools import islice
from pathlib import Path
from typing import Any

from benchmarks.machine import commit
from osler.evaluate.report_diversity import distinct_curve, lengths, overlap, vocabulary
from osler.evaluate.report_duplicates import find_duplicates, text_hashes
from osler.evaluate.report_identity import IdentityScan, count_kinds
from osler.evaluate.report_identity_controls import check_controls, make_controls
from osler.evaluate.report_near_duplicates import find_near_duplicates
from osler.evaluate.report_quality_text import curve_svg, markdown
from osler.evaluate.report_shards import count_reports, portions, shard_paths, spread
from osler.synth.facts import FindingFact
from osler.synth.read_back import Factuality, compare, read_report
from osler.synth.read_back.report_text import clean, sections

INDEXED = {
    "pleural-effusion": ("Pleural Effusion",),
    "pneumothorax": ("Pneumothorax", "Hydropneumothorax"),
    "cardiomegaly": ("Cardiomegaly",),
    "atelectasis": ("Pulmonary Atelectasis",),
    "emphysema": ("Emphysema", "Pulmonary Emphysema", "Bullous Emphysema"),
    "hiatal-hernia": ("Hernia, Hiatal",),
    "scoliosis": ("Scoliosis", "Kyphosis"),
    "calcified-granuloma": ("Calcified Granuloma", "Granuloma"),
}
"""Findings with one clear heading of the indexers of the real reports."""
MARKS = tuple(base * 10**power for power in range(2, 8) for base in (1, 2, 5))
STEPS = ("read-back", "duplicates", "near", "variety", "identity")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("shards", type=Path, help="folder with Parquet shards, or one shard")
    parser.add_argument("--read-back", type=int, default=100_000, help="reports read back")
    parser.add_argument("--sample", type=int, default=1_000_000, help="reports of the sample")
    parser.add_argument("--controls", type=int, default=6_000, help="planted identifiers")
    parser.add_argument("--real", type=Path, help="real reports (JSON lines), evaluation only")
    parser.add_argument("--steps", nargs="+", choices=STEPS, default=STEPS)
    parser.add_argument("--out", type=Path, help="write this Markdown file, and OUT_curve.svg beside it")
    parser.add_argument("--json", action="store_true", help="also write the figures as JSON beside --out")
    options = parser.parse_args()
    paths = shard_paths(options.shards)
    sample = spread(paths, reports=options.sample)
    record: dict[str, Any] = {
        "command": "python -m benchmarks.synth_quality SHARDS " + " ".join(sys.argv[2:]),
        "commit": commit(), "shards": len(paths), "reports": count_reports(paths), "sample": options.sample,
    }  # fmt: skip
    steps: dict[str, Callable[[], dict[str, Any]]] = {
        "read-back": lambda: read_back(paths, limit=options.read_back),
        "duplicates": lambda: duplicates(paths, total=record["reports"]),
        "near": lambda: near_duplicates(sample, limit=options.sample),
        "variety": lambda: variety(sample, limit=options.sample, real=options.real),
        "identity": lambda: identity(sample, limit=options.sample, controls=options.controls),
    }
    for name in options.steps:
        start = time.perf_counter()
        record[name] = steps[name]()
        record[name]["seconds"] = round(time.perf_counter() - start, 1)
    record["peak_mb"] = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024
    text = markdown(record)
    sys.stdout.write(text)
    if options.out:
        options.out.write_text(text)
        if "variety" in record:
            options.out.with_name(f"{options.out.stem}_curve.svg").write_text(curve_svg(record["variety"]))
        if options.json:
            options.out.with_suffix(".json").write_text(json.dumps(record, indent=1) + "\n")


class Progress:
    """A line on standard error every ten seconds."""

    def __init__(self, name: str, *, total: int) -> None:
        self._name, self._total, self._done = name, total, 0
        self._start = self._shown = time.perf_counter()

    def __call__(self, count: int) -> None:
        self._done += count
        now = time.perf_counter()
        if now - self._shown > 10:
            self._shown = now
            rate = self._done / (now - self._start)
            left = max(self._total - self._done, 0) / rate
            sys.stderr.write(f"{self._name}: {self._done:,} of {self._total:,}, {rate:,.0f}/s, {left:,.0f} s left\n")


def read_back(paths: list[Path], *, limit: int) -> dict[str, Any]:
    """Reads reports and compares them with their facts."""
    total, progress = Factuality(), Progress("read back", total=limit)
    examples: dict[str, list[dict[str, Any]]] = defaultdict(list)
    by_finding: Counter[str] = Counter()
    spent = 0.0
    for rows in portions(paths, columns=("report", "facts"), limit=limit):
        for text, facts in rows:
            start = time.perf_counter()
            read = read_report(text)
            spent += time.perf_counter() - start
            one = Factuality(reports=1)
            for failure in compare(read, true_findings(facts), counts=one.counts):
                one.failures[failure.kind] += 1
                fact = failure.truth or failure.read
                by_finding[f"{failure.kind}: {fact.key}"] += 1
                if len(examples[failure.kind]) < 3:
                    said = failure.read.text if failure.read else ""
                    examples[failure.kind].append({"key": fact.key, "read": said, "report": text})
            total.add(one)
        progress(len(rows))
    return {
        "reports": total.reports,
        "recovered": total.recovered(),
        "kinds": {
            kind: {**asdict(score), "recall": score.recall, "precision": score.precision}
            for kind, score in total.scores.items()
        },
        "failures": dict(total.failures.most_common()),
        "by_finding": dict(by_finding.most_common(30)),
        "examples": {
            kind: [{k: v for k, v in e.items() if k != "report"} for e in found] for kind, found in examples.items()
        },
        "reports_per_second": round(total.reports / max(spent, 1e-9)),
    }


def true_findings(facts: str) -> list[FindingFact]:
    """The findings in the JSON of a report's facts."""
    dropped = ("axes_mm", "center_mm")
    return [
        FindingFact(**({"lesion": 0} | {name: value for name, value in row.items() if name not in dropped}))
        for row in json.loads(facts)["findings"]
    ]


def duplicates(paths: list[Path], *, total: int) -> dict[str, Any]:
    """Exact duplicates over everything, with the text of the commonest."""
    hashes = (text_hashes([text for (text,) in rows]) for rows in portions(paths))
    found = find_duplicates(hashes, progress=Progress("duplicates", total=total))
    wanted = dict(found.largest[:3])
    texts = {}
    for rows in portions(paths) if wanted else ():
        for (text,), value in zip(rows, text_hashes([text for (text,) in rows]).tolist(), strict=True):
            if value in wanted:
                texts.setdefault(value, text)
        if len(texts) == len(wanted):
            break
    return {
        "reports": found.reports, "distinct": found.distinct, "repeated": found.repeated, "share": found.share,
        "groups": found.groups,
        "commonest": [{"copies": wanted[value], "text": text} for value, text in texts.items()],
    }  # fmt: skip


def near_duplicates(paths: list[Path], *, limit: int) -> dict[str, Any]:
    """Near duplicates in the sample, with the texts of some pairs."""
    batches = ([text for (text,) in rows] for rows in portions(paths, limit=limit))
    found = find_near_duplicates(batches, progress=Progress("near duplicates", total=limit))
    places = {place for first, second, _ in found.examples[:5] for place in (first, second)}
    texts = pick(paths, places=places)
    return {
        "reports": found.reports, "near": found.near, "share": found.share, "too_short": found.too_short,
        "verified": found.verified, "capped": found.capped,
        "examples": [
            {"jaccard": value, "texts": [texts[first], texts[second]]} for first, second, value in found.examples[:5]
        ],
    }  # fmt: skip


def pick(paths: list[Path], *, places: set[int]) -> dict[int, str]:
    """The reports at some places."""
    found: dict[int, str] = {}
    place = 0
    for rows in portions(paths, limit=max(places, default=-1) + 1):
        found.update({i: rows[i - place][0] for i in places if place <= i < place + len(rows)})
        place += len(rows)
    return found


def variety(paths: list[Path], *, limit: int, real: Path | None) -> dict[str, Any]:
    """Distinct 4-grams, lengths by section, vocabulary; the same of real reports."""
    progress = Progress("variety", total=limit)

    def batches() -> Iterator[list[str]]:
        for rows in portions(paths, limit=limit):
            progress(len(rows))
            yield [text for (text,) in rows]

    curve = distinct_curve(batches(), marks=[mark for mark in MARKS if mark < limit])
    result: dict[str, Any] = {"curve": [asdict(point) for point in curve]}
    some = [text for rows in portions(paths, limit=20_000) for (text,) in rows]
    result["lengths"] = {name: asdict(lengths(texts)) for name, texts in by_section(some).items()}
    if real:
        result |= against_real(paths, real=real)
    return result


def by_section(texts: list[str]) -> dict[str, list[str]]:
    """Texts of each section, and whole reports."""
    found: dict[str, list[str]] = {"whole report": texts}
    for text in texts:
        for name, part in sections(clean(text)):
            found.setdefault(name or "without sections", []).append(part)
    return found


def against_real(paths: list[Path], *, real: Path) -> dict[str, Any]:
    """Chest radiographs beside real ones: lengths, vocabulary and distinct 4-grams of findings and impression."""
    rows = [json.loads(line) for line in real.read_text().splitlines()]
    theirs = [f"{row['findings']} {row['impression']}".strip() for row in rows]
    theirs = [text for text in theirs if text]
    ours = list(islice(radiographs(paths), len(theirs)))
    random.Random(0).shuffle(theirs)
    pairs = {"ours": ours, "real": theirs}
    words = min(sum(len(text.split()) for text in texts) for texts in pairs.values())
    return {
        "radiographs": {
            name: {
                **asdict(lengths(texts)),
                "vocabulary": len(vocabulary(texts)),
                "equal": equal_words(texts, words=words),
            }
            for name, texts in pairs.items()
        },
        "overlap": asdict(overlap(vocabulary(ours), theirs=vocabulary(theirs))),
        "indexed": against_indexers(rows),
    }


def against_indexers(rows: list[dict[str, Any]]) -> dict[str, dict[str, int]]:
    """The reader on real reports, beside the headings that their indexers chose."""
    counts: dict[str, Counter[str]] = {key: Counter() for key in INDEXED}
    for row in rows:
        text = f"Chest radiograph\nFindings: {row['findings']}\nImpression: {row['impression']}"
        read = {f.key for f in read_report(text).findings if f.certainty != "absent" and f.change != "resolved"}
        headings = {heading.split("/")[0] for heading in row["mesh_major"]}
        for key, names in INDEXED.items():
            indexed = not headings.isdisjoint(names)
            counts[key].update(indexed=indexed, read=key in read, both=indexed and key in read)
    return {key: dict(count) for key, count in counts.items()}


def radiographs(paths: list[Path]) -> Iterator[str]:
    """Findings and impression of chest radiographs, one of each patient."""
    seen: set[str] = set()
    for rows in portions(paths, columns=("report", "metadata")):
        for text, metadata in rows:
            header = json.loads(metadata)
            if header.get("Modality") == "DX" and header.get("PatientID") not in seen:
                seen.add(header["PatientID"])
                yield " ".join(part for name, part in sections(clean(text)) if name in ("findings", "impression", ""))


def equal_words(texts: list[str], *, words: int) -> dict[str, int]:
    """Distinct words and 4-grams of the first so many running words."""
    chosen: list[str] = []
    for text in texts:
        pieces = text.split()
        chosen.append(" ".join(pieces[:words]))
        words -= len(pieces)
        if words <= 0:
            break
    point = distinct_curve([chosen])[-1]
    return {
        "words": point.words,
        "vocabulary": len(vocabulary(chosen)),
        "distinct_4_grams": point.distinct,
        "4_grams": point.grams,
    }


def identity(paths: list[Path], *, limit: int, controls: int) -> dict[str, Any]:
    """Scans records, then the same with planted identifiers."""
    scan, progress = IdentityScan(), Progress("identity", total=limit)
    clean_rows: list[str] = []
    for rows in portions(paths, columns=("report", "facts", "metadata"), limit=limit):
        records = ["\n".join(row) for row in rows]
        if len(clean_rows) < 4_000:
            clean_rows += records
        scan.add(records)
        progress(len(rows))
    hits = scan.finish()
    result = check_controls(clean_rows, controls=make_controls(controls, seed=1))
    return {
        "records": scan.records, "found": count_kinds(hits),
        "examples": [asdict(hit) for hit in hits[:40]],
        "planted": result.planted, "planted_found": result.found, "missed": list(result.missed[:20]),
    }  # fmt: skip


if __name__ == "__main__":
    main()
