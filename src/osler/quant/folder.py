"""Folders of quantized weights: written layer by layer, opened memory-mapped.

======================  ========================================================
``config.json``         ``model_type: "osler-quantized"``, the network, where the
                        tokenizer is, the license, and digests of the weights
``preprocess.json``     the contract that the weights were trained with
``weights.safetensors`` packed products (`osler.quant.packed`) as ``NAME.codes``,
                        ``NAME.scale``, ``NAME.offset``, the rest as it was; the
                        metadata hold the plan and the contract
``tokenizer.json``      absent where the tokenizer is the embedded one
======================  ========================================================

A product whose parts have formats of their own is stored as ``NAME.0``,
``NAME.1`` and so on. Nothing is copied when a folder is opened.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch

from osler.errors import CheckpointError, RequestError
from osler.model.config import OslerConfig
from osler.progress import Progress
from osler.quant.calibration import Calibration
from osler.quant.kernels import KernelChoice, TorchKernels
from osler.quant.network import Assemble, NetworkContent, check_source, packed_network
from osler.quant.open import OpenedModel, open_model
from osler.quant.plan import QuantPlan, default_plan
from osler.quant.stored import MODEL_TYPE, VERSION, WEIGHTS_FILE, Verify, open_folder
from osler.quant.stream_file import file_probe, write_stream
from osler.quant.stream_tensors import StreamTensors
from osler.weights import Checkpoint
from osler.weights.assemble import DTypeName, torch_dtype
from osler.weights.cache import whole_file
from osler.weights.config_json import config_to_dict
from osler.weights.contract import CONTRACT_FILE
from osler.weights.embedded import embedded_gguf
from osler.weights.gguf_file import read_gguf
from osler.weights.json_file import read_json
from osler.weights.safetensors_io import read_metadata
from osler.weights.skills import read_skills
from osler.weights.tokenizer import GemmaTokenizer

MakeCalibration = Callable[[OpenedModel], Calibration]
"""Makes the samples that suit a model, with its tokenizer and its contract."""

CheckPlan = Callable[[OslerConfig, QuantPlan], None]
"""Raises where a network or a plan is not one that is wanted."""


@dataclass(frozen=True, slots=True, kw_only=True)
class QuantizedFolder:
    """What was written.

    Args:
        folder: Where. bytes: Of the weights.
        float_bytes: That they took in bfloat16.
        plan: What is stored in which format. calibration: How weights were rounded; ``None``: to the nearest.
    """

    folder: Path
    bytes: int
    float_bytes: int
    plan: QuantPlan
    calibration: Calibration | None = None


def is_quantized(path: Path) -> bool:
    """Whether a folder holds quantized weights, by its config.json."""
    if not (path / "config.json").is_file():
        return False
    return read_json(path / "config.json").get("model_type") == MODEL_TYPE


def folder_plan(folder: Path) -> QuantPlan:
    """Reads the plan of a folder of quantized weights.

    Raises:
        CheckpointError: If it is missing or damaged.
    """
    path = folder / WEIGHTS_FILE
    return QuantPlan.from_json(read_metadata(path).get("plan", ""), source=str(path))


def quantize_to_folder(
    name: str | os.PathLike[str],
    folder: Path,
    *,
    bits: int,
    layers: str | None = None,
    embedding: str | None = None,
    tower: str | None = None,
    keep: Sequence[str] = (),
    plan: QuantPlan | None = None,
    calibrate: MakeCalibration | None = None,
    check: CheckPlan | None = None,
    dtype: DTypeName = "bfloat16",
    on_progress: Progress | None = None,
) -> QuantizedFolder:
    """Quantizes a model into a new folder, one product at a time.

    Args:
        name: A name from `osler models`, a folder or a GGUF file.
        folder: New or empty.
        bits: 4 or 8.
        layers: Format of the decoder's layers. embedding: Of the embedding and head. tower: Of the image tower and
            the heads. ``None``: the usual ones.
        keep: Parts of the layers that stay at 8 bits (see `default_plan`).
        plan: In place of formats: what to store in which.
        calibrate: Makes the samples for rounding with the inputs in view; to the nearest if not given.
        check: Refuses a plan before anything is read.
        dtype: Of what is not quantized.
        on_progress: Called with ``"quantize"``, products done, products in all; with ``"calibrate"`` and layers.

    Raises:
        RequestError: If the folder is not empty, or bits or a format do not exist.
        CheckpointError: If the model cannot be read or the folder not written.
    """
    folder = Path(folder)
    _require_new(folder)
    opened = open_model(name)
    plan = plan or default_plan(opened.config, bits=bits, layers=layers, embedding=embedding, tower=tower, keep=keep)
    plan.require(opened.config, source=opened.name)
    if check is not None:
        check(opened.config, plan)
    check_source(opened.source, config=opened.config, name=str(opened.path))
    calibration = None if calibrate is None else calibrate(opened)
    writer = StreamTensors(
        opened, plan=plan, dtype=torch_dtype(dtype), calibration=calibration, on_progress=on_progress
    )
    plan = writer.plan
    metadata = {
        "format": "pt",
        "plan": plan.to_json(),
        "calibration": "" if calibration is None else calibration.to_json(),
        "preprocess": opened.preprocess.to_json(),
        "preprocess_hash": opened.preprocess.hash,
    }
    weights = folder / WEIGHTS_FILE
    digest = write_stream(weights, places=writer.places(), metadata=metadata, tensors=writer.tensors)
    if opened.tokenizer_home == "stored":
        opened.tokenizer().save(folder)
    header = {
        "model_type": MODEL_TYPE,
        "version": VERSION,
        "made_from": opened.name,
        "license": opened.licence,
        "tokenizer_home": opened.tokenizer_home,
        "trained": sorted(opened.trained),
        "sha256": digest,
        "probe": file_probe(weights),
    }
    _write_text(folder / CONTRACT_FILE, opened.preprocess.to_json() + "\n")
    # Last, so that a folder that is not whole has no configuration.
    _write_text(folder / "config.json", json.dumps(header | config_to_dict(opened.config), indent=2) + "\n")
    shapes = opened.source.shapes().values()
    return QuantizedFolder(
        calibration=calibration,
        folder=folder,
        bytes=weights.stat().st_size,
        float_bytes=sum(2 * int(torch.Size(shape).numel()) for shape in shapes),
        plan=plan,
    )


def load_quantized_folder(
    folder: Path,
    *,
    dtype: DTypeName = "bfloat16",
    kernels: KernelChoice | None = None,
    verify: Verify = "probe",
    assemble: Assemble = packed_network,
) -> Checkpoint:
    """Opens a folder of quantized weights, memory-mapped.

    Args:
        dtype: Of the activations and of what is not quantized.
        kernels: What computes; PyTorch if not given.
        verify: How much of the weights is compared with the digests that were written with them.
        assemble: Builds the network.

    Raises:
        CheckpointError: If files are missing, truncated or changed, or belong to different models.
        PreprocessMismatchError: If weights and preprocess.json name different contracts.
    """
    opened = open_folder(folder, verify=verify)
    chosen = TorchKernels() if kernels is None else kernels.kernels
    precision = torch_dtype(dtype)
    model = assemble(
        NetworkContent(
            config=opened.config,
            parts=opened.stored.parts,
            tensor=lambda name: opened.stored.plain(name).to(precision),
            matrices=frozenset(opened.plan.matrices),
            dtype=precision,
            kernels=chosen,
        )
    )
    folder, content = opened.folder, opened.content
    embedded = content.get("tokenizer_home") == "embedded"
    tokenizer = GemmaTokenizer.from_gguf(read_gguf(embedded_gguf())) if embedded else GemmaTokenizer.from_folder(folder)
    return Checkpoint(
        model=model,
        tokenizer=tokenizer,
        preprocess=opened.preprocess,
        name=folder.resolve().name,
        source=folder,
        licence=str(content.get("license", "unknown")),
        digest=str(content.get("sha256", ""))[:16],
        identity=str(content.get("sha256", "")),
        bits=opened.plan.bits,
        trained=read_skills(content.get("trained", []), source=str(folder / "config.json")),  # type: ignore[arg-type]
    )


def _require_new(folder: Path) -> None:
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise RequestError(
            f"{str(folder)!r} exists and is not an empty folder.",
            allowed="Quantized weights go into a new folder.",
            next_step="Name another one.",
        )


def _write_text(path: Path, text: str) -> None:
    try:
        with whole_file(path) as out:
            out.write(text.encode("utf-8"))
    except OSError as error:
        raise CheckpointError(
            f"Cannot write {str(path)!r}: {error}.", next_step="Choose a folder with room that you can write to."
        ) from error
