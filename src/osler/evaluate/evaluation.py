"""`osler evaluate`: from a model and a folder of data to one result, as JSON, Markdown and pictures."""

from __future__ import annotations

import math
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import osler
from osler.atomic import write_atomic
from osler.engine.backend import check_backend
from osler.errors import RequestError, unknown_name
from osler.evaluate.evaluation_text import evaluation_markdown
from osler.evaluate.published import MEDGEMMA_15_4B
from osler.evaluate.radgraph import ReportGraph, read_annotations
from osler.evaluate.responder import OslerResponder, Responder
from osler.evaluate.rows import Estimate, Measured, measured
from osler.evaluate.runner import SetResult, chosen_sets, made_folder, run_set
from osler.evaluate.sets import all_sets
from osler.evaluate.sets.types import Annotated, EvaluationSet, Setting, SplitChoice
from osler.evaluate.worst import draw_worst, worst_rows
from osler.progress import Progress
from osler.train.checkpoints import save_json
from osler.weights.parts import Part

SCHEMA = 1
_SPLITS = ("auto", "held-out", "all")


@dataclass(frozen=True, slots=True, kw_only=True)
class EvaluationRequest:
    """What to evaluate on what.

    Args:
        data: Folder laid out as the public sets are.
        model: A known name, a folder with a checkpoint, or a folder with one of the peers.
        sets: Names of sets or groups; empty for all.
        limit: Cases of a set at most.
        split: ``"held-out"`` keeps to patients that training leaves out, ``"all"`` takes everyone, ``"auto"`` is
            ``"held-out"`` for Osler's own weights and ``"all"`` for others.
        untrained: ``"ask"`` asks for what the weights were not trained for, too.
        radgraph: File of RadGraph annotations of written reports; see `osler.evaluate.radgraph`.
        out: Folder for the result; empty writes nothing, and a run that was stopped starts again.
        bits: See `osler.load`. backend: See there. device: See there. parts: See there.
    """

    data: str | Path
    model: str = "osler-mini"
    sets: tuple[str, ...] = ()
    limit: int | None = None
    split: Literal["auto", "held-out", "all"] = "auto"
    untrained: Literal["list", "ask"] = "list"
    radgraph: str | Path = ""
    out: str | Path = ""
    bits: int | None = None
    backend: str = "torch"
    device: str = "auto"
    parts: tuple[Part, ...] | None = None


def evaluate(request: EvaluationRequest, *, on_progress: Progress | None = None) -> dict[str, Any]:
    """Evaluates a model and returns the result as JSON holds it; writes it where ``out`` names a folder.

    Example:
        >>> from osler.evaluate.evaluation import EvaluationRequest, evaluate
        >>> evaluate(EvaluationRequest(data="data", sets=("lung-boxes",), limit=4))  # doctest: +SKIP

    Args:
        request: What to do.
        on_progress: Called with the name of a set, cases done and cases in all.

    Raises:
        OslerError: If an option, the folder or the model is at fault. Faults of single files are counted instead.
    """
    root = Path(request.data).expanduser()
    _check(request, root=root)
    sets = chosen_sets(request.sets)
    annotations = _annotations(request, sets)
    out = _folder(request.out)
    responder = load_responder(request)
    split: SplitChoice = request.split if request.split != "auto" else _split_for(responder)
    setting = Setting(
        root=root,
        responder=responder,
        split=split,
        untrained=request.untrained,
        limit=request.limit,
        annotations=annotations,
    )
    return evaluate_sets(sets, setting, out=out, on_progress=on_progress)


def evaluate_sets(
    sets: Sequence[EvaluationSet], setting: Setting, *, out: Path | None = None, on_progress: Progress | None = None
) -> dict[str, Any]:
    """Runs sets with a model that is loaded; see `evaluate`.

    The result is written anew after every set, so what was measured survives an interruption.
    """
    started = time.monotonic()
    record = _header(setting)
    for one in sets:
        result = run_set(one, setting, out=out, on_progress=on_progress)
        record["sets"].append(_set_record(one, result, out=out))
        record["seconds"] = round(time.monotonic() - started, 1)
        if out is not None:
            save_json(out / "evaluation.json", record)
            write_atomic(out / "evaluation.md", data=evaluation_markdown(record).encode())
    return record


def load_responder(request: EvaluationRequest) -> Responder:
    """Loads the model of a request, one of Osler's or a peer.

    Raises:
        OslerError: If it is not there or cannot be loaded.
    """
    from osler.evaluate.peers import find_peer

    peer = find_peer(request.model)
    if peer is not None:
        if request.backend != "torch":
            raise RequestError(
                f"The backend {request.backend!r} for {request.model!r}, which is not one of Osler's models.",
                allowed="torch.",
            )
        if request.parts is not None:
            raise RequestError(f"{request.model!r} is not one of Osler's models: it has no parts to switch off.")
        return peer.load(Path(request.model).expanduser(), device=request.device)
    from osler.engine.load import load

    session = load(
        request.model,
        bits=request.bits,
        backend=request.backend,
        device=request.device,
        studies="memory",
        parts=request.parts,
    )
    return OslerResponder(session, untrained=request.untrained)


def _split_for(responder: Responder) -> SplitChoice:
    """Weights that Osler's recipes made were trained on the other patients of these very sets."""
    session = responder.session
    return "held-out" if session is not None and session.checkpoint.model.config.name == "osler-mini" else "all"


def _check(request: EvaluationRequest, *, root: Path) -> None:
    if not root.is_dir():
        raise RequestError(
            f"No folder {str(root)!r} with data.",
            allowed="A folder laid out as docs/how-to/evaluate-a-model.md says.",
            next_step="Name it with --data.",
        )
    check_backend(request.backend)
    if request.split not in _SPLITS:
        raise unknown_name("split", name=str(request.split), known=_SPLITS)
    if request.limit is not None and (isinstance(request.limit, bool) or request.limit < 1):
        raise RequestError(f"A limit of {request.limit!r} cases.", allowed="A whole number from 1.")


def _annotations(request: EvaluationRequest, sets: Sequence[EvaluationSet]) -> Mapping[str, ReportGraph] | None:
    """Reads annotations before anything is asked: that may take hours."""
    if not str(request.radgraph):
        return None
    if not any(isinstance(one, Annotated) for one in sets):
        known = ", ".join(one.name for one in all_sets() if isinstance(one, Annotated))
        raise RequestError(
            f"RadGraph annotations ({str(request.radgraph)!r}) for sets that use none.",
            allowed=f"With: {known}.",
            next_step="Choose it with --sets, or leave --radgraph out.",
        )
    return read_annotations(request.radgraph)


def _folder(out: str | Path) -> Path | None:
    return made_folder(Path(out).expanduser(), what="results") if str(out) else None


def _header(setting: Setting) -> dict[str, Any]:
    responder = setting.responder
    return {
        "schema": SCHEMA,
        "osler": osler.__version__,
        "model": responder.name,
        "weights": responder.key,
        "trained": sorted(responder.trained - responder.asked_anyway),
        "prompts": responder.style.name,
        "note": responder.note,
        "split": setting.split,
        "untrained": setting.untrained,
        "limit": setting.limit,
        "seconds": 0.0,
        "sets": [],
    }


def _set_record(one: EvaluationSet, result: SetResult, *, out: Path | None) -> dict[str, Any]:
    units = {measure.name: measure for measure in one.measures}
    worst = worst_rows(result.rows, measure=one.measures[0])
    picture = ""
    if out is not None and worst and (data := draw_worst(one, worst)) is not None:
        picture = write_atomic(out / f"worst-{one.name}.png", data=data).name
    return {
        "name": result.name,
        "title": result.title,
        "state": result.state,
        "why": result.why,
        "notes": list(result.notes),
        "cases": result.cases,
        "asked": result.asked,
        "rows": len(result.rows),
        "seconds": round(result.seconds, 2),
        "tokens": {"prompt": result.prompt_tokens, "answer": result.answer_tokens},
        "failed": [{"case": entry.case, "why": entry.why} for entry in result.failed],
        "measures": [
            {
                "measure": entry.measure,
                "better": units[entry.measure].better,
                "unit": units[entry.measure].unit,
                **_measured_record(entry),
                **_published(result.name, entry),
            }
            for entry in measured(result.rows, one.measures)
        ],
        "worst": [
            {"case": row.case, "asked": row.asked, "said": row.said[:400], "truth": row.truth[:400]} for row in worst
        ],
        "picture": picture,
    }


def _measured_record(entry: Measured) -> dict[str, Any]:
    return {
        "group": entry.group,
        "part": entry.part,
        "rows": entry.rows,
        "patients": entry.patients,
        "systems": _estimates(entry.systems),
        "gains": _estimates(entry.gains),
    }


def _published(name: str, entry: Measured) -> dict[str, float]:
    figure = MEDGEMMA_15_4B.get((name, entry.measure)) if entry.group == "all" and not entry.part else None
    return {} if figure is None else {"published": figure}


def _estimates(systems: Mapping[str, Estimate]) -> dict[str, list[float | None]]:
    """Value, low and high end; ``null`` where a metric has no value, such as AUROC of one class."""
    return {
        system: [_finite(number) for number in (found.value, found.low, found.high)]
        for system, found in systems.items()
    }


def _finite(number: float) -> float | None:
    return round(number, 5) if math.isfinite(number) else None
