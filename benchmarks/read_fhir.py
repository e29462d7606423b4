"""Times opening a FHIR bundle of 20 MB and more.

    PYTHONPATH=src python benchmarks/read_fhir.py --records ../shared/data/fhir

The bundle is made in a temporary folder: one patient's entries, repeated under
new ids until the file is large enough, so that nothing is a copy and everything
is one patient's. Each round is a fresh process; the time is that of
``open_study`` alone, imports left out, and the peak memory is the process's.
``json`` alone is the time that Python's parser takes on the same bytes: what a
faster parser could save at most.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

_ROUND = """
import json, resource, sys, time
from osler.readers import open_study
path = sys.argv[1]
started = time.perf_counter(); study = open_study(path); opened = time.perf_counter() - started
peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
data = open(path, "rb").read()
started = time.perf_counter(); json.loads(data); parsed = time.perf_counter() - started
print(json.dumps({"open": opened, "json": parsed, "peak": peak, "events": len(study.events)}))
"""


def make_bundle(source: Path, *, target: Path, megabytes: int) -> int:
    """Writes the bundle; returns its size in bytes."""
    entries = json.loads(source.read_text())["entry"]
    patient = [entry for entry in entries if entry["resource"]["resourceType"] == "Patient"]
    rest = [entry for entry in entries if entry["resource"]["resourceType"] != "Patient"]
    out = [json.dumps(entry) for entry in patient]
    size, number = 0, 0
    while size < megabytes * 2**20:
        for entry in rest:
            resource = {**entry["resource"], "id": f"{entry['resource']['id'][:20]}-{number}"}
            out.append(json.dumps({"fullUrl": f"urn:uuid:{resource['id']}", "resource": resource}, indent=2))
            size += len(out[-1])
        number += 1
    target.write_text('{"resourceType": "Bundle", "type": "collection", "entry": [' + ",\n".join(out) + "]}")
    return target.stat().st_size


def _fresh(target: Path) -> bytes:
    """What a round prints in a process of its own."""
    return subprocess.run([sys.executable, "-c", _ROUND, str(target)], check=True, capture_output=True).stdout


def main() -> None:
    """Makes the bundle, opens it a few times and prints Markdown."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--records", type=Path, required=True, help="Folder of FHIR bundles, one patient each.")
    parser.add_argument("--megabytes", type=int, default=20)
    parser.add_argument("--rounds", type=int, default=5)
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        target = Path(folder) / "record.json"
        size = make_bundle(min(given.records.glob("*.json")), target=target, megabytes=given.megabytes)
        rounds = [json.loads(_fresh(target)) for _ in range(given.rounds)]
    commit = subprocess.run(["git", "rev-parse", "--short", "HEAD"], capture_output=True, text=True, check=False).stdout
    print(f"{platform.processor() or platform.machine()}, {os.cpu_count()} cores, Python {platform.python_version()}, "
          f"commit {commit.strip()}\n")  # fmt: skip
    print("| bundle | events | `open_study` | of it `json` | peak memory |\n|---|---|---|---|---|")
    middle = {name: statistics.median(one[name] for one in rounds) for name in rounds[0]}
    spread = f"{min(one['open'] for one in rounds):.2f} to {max(one['open'] for one in rounds):.2f} s"
    print(f"| {size / 2**20:.1f} MiB | {middle['events']:,.0f} | {middle['open']:.2f} s ({spread}) "
          f"| {middle['json']:.2f} s | {middle['peak']:.0f} MiB |")  # fmt: skip


if __name__ == "__main__":
    main()
