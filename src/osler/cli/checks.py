"""The checks of ``osler doctor``, from cheap to costly.

The last ones compare with `golden.json`, which ``tests/golden/record.py``
writes whenever the shipped weights or the preprocessing change: the
contract's hash, the pixels that the network sees of a real CT slice, and the
answer to a question about it.
"""

from __future__ import annotations

import json
import os
import platform
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from importlib.resources import files
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from osler.cli.demo import DEMO_QUESTION, demo_scan
from osler.errors import OslerError

if TYPE_CHECKING:
    from osler.study import Answer

Status = Literal["ok", "note", "fail"]

_PACKAGES = ("torch", "numpy", "pydicom", "nibabel", "pillow", "safetensors", "tokenizers", "gguf")
_DECODERS = {"pylibjpeg-openjpeg": "JPEG 2000", "pyjpegls": "JPEG-LS", "python-gdcm": "JPEG"}
_CPU_FLAGS = ("avx2", "avx512f", "avx512_vnni", "avx512_bf16", "amx_bf16", "amx_int8", "asimd", "bf16", "i8mm")
_GOLDEN_TOKENS = 48


@dataclass(frozen=True, slots=True, kw_only=True)
class Check:
    """One check and what it found.

    Args:
        name: What was checked.
        status: ``"ok"``, ``"note"`` (works, but worth knowing) or ``"fail"``.
        found: What was found.
        next_step: What to do about it.
    """

    name: str
    status: Status
    found: str
    next_step: str = ""


def run_checks() -> Iterator[Check]:
    """Runs all checks, yielding each as it is done; a check never raises."""
    for name, check in _CHECKS.items():
        try:
            yield check(name)
        except OslerError as error:
            yield Check(name=name, status="fail", found=error.problem, next_step=error.next_step or error.allowed)
        except Exception as error:
            yield Check(
                name=name,
                status="fail",
                found=f"the check itself failed: {type(error).__name__}",
                next_step="Install again into a fresh environment: make clean demo.",
            )


def golden() -> dict[str, Any]:
    """Returns the recorded contract hash, pixel digest, question and answer."""
    return json.loads((files("osler.cli") / "golden.json").read_text(encoding="utf-8"))


def golden_pixels() -> tuple[str, str]:
    """Returns the contract's hash and the digest of what the network sees of the demonstration scan."""
    from osler.model.config import get_config
    from osler.prepare import prepare_images, preprocess_for
    from osler.readers import open_study

    contract = preprocess_for(get_config("osler-mini"))
    prepared = prepare_images(open_study(demo_scan()), preprocess=contract)
    return contract.hash, prepared.pixels.digests()[0]


def golden_weights() -> str:
    """Returns a digest of the shipped weights and their configuration."""
    from osler.weights.catalog import MINI_FOLDER
    from osler.weights.digest import files_digest

    return files_digest(MINI_FOLDER)


def golden_answer() -> Answer:
    """Answers the demonstration question in float32, which gives the same words on every processor."""
    import osler

    return osler.load("osler-mini", bits=32, device="cpu").ask(
        osler.open_study(demo_scan()), DEMO_QUESTION, max_tokens=_GOLDEN_TOKENS
    )


def _python(name: str) -> Check:
    found = f"{platform.python_version()} on {platform.system()} {platform.machine()}"
    return Check(name=name, status="ok", found=found)


def _packages(name: str) -> Check:
    missing = [package for package in _PACKAGES if _version(package) is None]
    found = ", ".join(f"{package} {_version(package) or 'absent'}" for package in _PACKAGES)
    if missing:
        return Check(name=name, status="fail", found=found, next_step=f"pip install {' '.join(missing)}")
    return Check(name=name, status="ok", found=found)


def _image_decoders(name: str) -> Check:
    missing = [package for package in _DECODERS if _version(package) is None]
    found = ", ".join(f"{kind}: {_version(package) or 'absent'}" for package, kind in _DECODERS.items())
    if missing:
        return Check(name=name, status="fail", found=found, next_step=f"pip install {' '.join(missing)}")
    return Check(name=name, status="ok", found=found)


def _cpu(name: str) -> Check:
    from osler.engine.device import has_fast_bfloat16

    found_flags = _cpu_flags()
    flags = [flag for flag in _CPU_FLAGS if flag in found_flags]
    found = f"{os.cpu_count()} logical cores; {', '.join(flags) or 'features unknown'}"
    if not has_fast_bfloat16():
        return Check(
            name=name,
            status="note",
            found=f"{found}; no bfloat16 kernels",
            next_step="Nothing to do: Osler computes in float32 here, in twice the memory.",
        )
    return Check(name=name, status="ok", found=f"{found}; bfloat16 kernels")


def _threads(name: str) -> Check:
    import psutil
    import torch

    threads, cores = torch.get_num_threads(), _usable_cores()
    found = f"torch uses {threads} of {cores} usable cores ({psutil.cpu_count(logical=False)} physical)"
    if threads > cores:
        return Check(name=name, status="note", found=found, next_step=f"Set OMP_NUM_THREADS={cores}.")
    return Check(name=name, status="ok", found=found)


def _kernels(name: str) -> Check:
    from osler.quant import choose_kernels
    from osler.quant.build import find_compiler, library_path

    chosen = choose_kernels()
    found = f"weights of 4 and 8 bits run on {chosen.kernels.name}: {chosen.reason}"
    if library_path().is_file() or chosen.reason == "asked for":
        return Check(name=name, status="ok", found=found)
    step = (
        "osler build-kernels" if find_compiler() else "Nothing to do: PyTorch computes. A C++ compiler makes it faster."
    )
    return Check(name=name, status="note", found=found, next_step=step)


def _jax(name: str) -> Check:
    found_version = _version("jax")
    if found_version is None:
        return Check(name=name, status="note", found="not installed; it is optional: pip install 'osler[jax]'")
    try:
        from osler.jax.compilation import keep_compiled_programs
        from osler.jax.devices import describe_devices, require_32_bits

        programs = keep_compiled_programs()
        found = f"jax {found_version}; sees {describe_devices()}; compiled programs {programs}"
    except (ImportError, RuntimeError) as error:
        reason = str(error).partition("\n")[0]
        found = f"jax {found_version} cannot be used: {reason}"
        return Check(name=name, status="note", found=found, next_step="pip install --force-reinstall 'osler[jax]'")
    try:
        require_32_bits()
    except OslerError as error:
        return Check(name=name, status="note", found=f"{found}; set to 64 bits", next_step=error.next_step)
    return Check(name=name, status="ok", found=found)


def _jax_kernels(name: str) -> Check:
    if find_spec("jax") is None:
        return Check(name=name, status="ok", found="JAX is not installed")
    from osler.jax.build import library_path
    from osler.jax.kernels import choose_kernels
    from osler.quant.build import find_compiler

    chosen = choose_kernels()
    found = f"in JAX weights of 4, 8 and 16 bits run on {chosen.name}: {chosen.reason}"
    if library_path().is_file() or chosen.reason == "asked for":
        return Check(name=name, status="ok", found=found)
    step = "osler build-kernels" if find_compiler() else "Nothing to do: XLA computes. A C++ compiler makes it faster."
    return Check(name=name, status="note", found=found, next_step=step)


def _painting(name: str) -> Check:
    from osler.quant.build import find_compiler
    from osler.synth.painting.library import choose_painting

    chosen = choose_painting()
    found = f"synthetic bodies are painted by {chosen.name}: {chosen.reason}"
    if chosen.library is not None or chosen.reason == "asked for":
        return Check(name=name, status="ok", found=found)
    step = "osler build-kernels" if find_compiler() else "Nothing to do: NumPy paints the same, more slowly."
    return Check(name=name, status="note", found=found, next_step=step)


def _memory(name: str) -> Check:
    from osler.readers.limits import available_memory
    from osler.weights.catalog import list_models

    needed = next(entry.memory_bytes for entry in list_models() if entry.name == "osler-mini")
    free = available_memory()
    found = f"{free / 1e9:.1f} GB free, osler-mini needs {needed / 1e9:.1f} GB"
    if free < needed:
        return Check(name=name, status="fail", found=found, next_step="Close other programs.")
    return Check(name=name, status="ok", found=found)


def _decoder_cache(name: str) -> Check:
    from osler.weights import verify_embedded

    path = verify_embedded()
    return Check(name=name, status="ok", found=f"SHA-256 right: {path}")


def _shipped_weights(name: str) -> Check:
    recorded, weights = golden()["weights"], golden_weights()
    if weights != recorded:
        return Check(
            name=name,
            status="fail",
            found=f"digest {weights[:16]}, {recorded[:16]} was shipped",
            next_step="Install Osler again; its files are damaged or do not belong together.",
        )
    return Check(name=name, status="ok", found=f"digest {weights[:16]}")


def _preprocessing(name: str) -> Check:
    recorded = golden()
    contract, pixels = golden_pixels()
    if contract != recorded["preprocess"]:
        return Check(
            name=name,
            status="fail",
            found=f"contract {contract[:16]}, but the shipped weights were trained with {recorded['preprocess'][:16]}",
            next_step="Install Osler again; its files do not belong together.",
        )
    if pixels != recorded["pixels"]:
        return Check(
            name=name,
            status="fail",
            found=f"contract {contract[:16]}, but a known scan gives other pixels ({pixels[:16]})",
            next_step="Install the versions in constraints.txt: a decoder or Pillow computes differently.",
        )
    return Check(name=name, status="ok", found=f"contract {contract[:16]}, pixels of a known scan {pixels[:16]}")


def _known_answer(name: str) -> Check:
    recorded = golden()
    answer = golden_answer()
    if answer.text != recorded["answer"]:
        return Check(
            name=name,
            status="fail",
            found=f"{answer.text!r} instead of {recorded['answer']!r}",
            next_step="Install the versions in constraints.txt and run this again.",
        )
    return Check(name=name, status="ok", found=repr(answer.text))


def _version(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None


def _cpu_flags() -> frozenset[str]:
    """Feature words of the processor, empty where the system does not list them."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return frozenset()
    words = next((line.partition(":")[2] for line in lines if line.lower().startswith(("flags", "features"))), "")
    return frozenset(words.split())


def _usable_cores() -> int:
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


_CHECKS: dict[str, Callable[[str], Check]] = {
    "python": _python,
    "packages": _packages,
    "image decoders": _image_decoders,
    "processor": _cpu,
    "threads": _threads,
    "kernels": _kernels,
    "jax": _jax,
    "jax kernels": _jax_kernels,
    "painting": _painting,
    "memory": _memory,
    "decoder cache": _decoder_cache,
    "shipped weights": _shipped_weights,
    "preprocessing": _preprocessing,
    "known answer": _known_answer,
}
