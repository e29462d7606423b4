"""Compiles the kernels, once, into the user's cache.

Installing Osler never needs a compiler, and running it never starts one:
``osler build-kernels`` (``make demo`` runs it) compiles the C++ sources that
travel in the package, with flags for each instruction set in its own file, and
the processor is asked at run time which of them it has. The library's name
holds a digest of the sources, so that kernels of another version are never
loaded. torch is not imported.
"""

from __future__ import annotations

import os
import platform
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from hashlib import sha256
from pathlib import Path
from typing import Literal

from osler.errors import ModelError
from osler.weights.cache import cache_folder, whole_path

SOURCES = Path(__file__).parent / "native"

Checked = Literal["plain", "sanitized"]

_COMMON = ("-O3", "-std=c++17", "-fPIC", "-fvisibility=default", "-ffp-contract=off", "-fno-math-errno")
AVX2 = ("-mavx2", "-mfma", "-mf16c")
AVX512 = ("-mavx512f", "-mavx512bw", "-mavx512dq", "-mavx512vl", "-mfma", "-mf16c")
# Sums over activations need not round every product by itself.
FUSED = ("-ffp-contract=fast",)
_BASE = {"api.cpp": (), "parallel.cpp": (), "peak.cpp": (), "portable.cpp": (), "token_portable.cpp": FUSED}
_VNNI = (*AVX512, "-mavx512vnni")
_X86 = {
    "attend_pairs.cpp": (*AVX512, "-mavx512bf16"),
    "attend_vectors.cpp": AVX512,
    "avx2.cpp": AVX2,
    "vnni.cpp": _VNNI,
    "many_grouped.cpp": _VNNI,
    "many_vnni.cpp": _VNNI,
    "known_weight.cpp": _VNNI,
    "measure_int8.cpp": _VNNI,
    "rows_int8.cpp": _VNNI,
    "token_avx2.cpp": (*FUSED, *AVX2),
    "token_avx512.cpp": (*FUSED, *AVX512, "-mprefer-vector-width=512"),
}
TILES = (*AVX512, "-mavx512bf16", "-mamx-tile", "-mamx-bf16", "-mamx-int8")
# Every processor with tiles has these too.
_BYTES = (*TILES, "-mavx512vbmi")
_AMX = {
    "attend_whole.cpp": _BYTES,
    "many_bf16.cpp": TILES,
    "many_hadamard.cpp": TILES,
    "many_int8.cpp": TILES,
    "peak.cpp": TILES,
    "prompt_rows.cpp": TILES,
    "tile_attend.cpp": TILES,
    "tower_linear.cpp": TILES,
    "tower_rows.cpp": TILES,
}
_SANITIZE = ("-O1", "-fsanitize=address,undefined", "-fno-sanitize-recover=all", "-fno-omit-frame-pointer")
_SECONDS = 300


@dataclass(frozen=True, slots=True, kw_only=True)
class Built:
    """Compiled kernels.

    Args:
        path: The library. compiler: That made it.
        notes: What had to be left out, and why.
    """

    path: Path
    compiler: str
    notes: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Variant:
    """Sources that another caller than PyTorch adds to the kernels, or a library without them.

    Args:
        name: Of the library. version: Of what it is built against.
        folder: Of the added sources. base: Those for every processor, with their flags.
        x86: Those for processors of that family. amx: Those for compilers that know AMX.
        without: Sources that are left out. alone: Leaves out all of the kernels here.
        include: Folders with headers.
        otherwise: What is done without the library.
    """

    name: str
    version: str
    folder: Path
    base: Mapping[str, Sequence[str]]
    x86: Mapping[str, Sequence[str]] = field(default_factory=dict)
    amx: Mapping[str, Sequence[str]] = field(default_factory=dict)
    without: frozenset[str] = frozenset()
    alone: bool = False
    include: tuple[str, ...] = ()
    otherwise: str = "PyTorch computes"


def library_path(variant: Variant | None = None) -> Path:
    """Returns where the kernels of this version are, or would be."""
    version = "" if variant is None else f" {variant.name} {variant.version}"
    digest = sha256(f"{sys.platform} {platform.machine()}{version}\n".encode())
    own = () if variant is None else (variant.folder,)
    for folder in own if variant is not None and variant.alone else (SOURCES, *own):
        for source in sorted(folder.iterdir()):
            if source.suffix in (".cpp", ".h", ".inc"):
                digest.update(source.name.encode() + b"\0" + source.read_bytes())
    name = "osler-kernels" if variant is None else variant.name
    return cache_folder() / "kernels" / f"{name}-{digest.hexdigest()[:16]}.so"


def find_compiler() -> str | None:
    """Returns a C++ compiler: ``$CXX`` if set, else the first of the usual ones; ``None`` without one."""
    chosen = os.environ.get("CXX")
    names = (chosen,) if chosen else ("g++", "clang++", "c++")
    return next((found for name in names if (found := shutil.which(name))), None)


def build_kernels(
    *,
    target: Path | None = None,
    checked: Checked = "plain",
    main: Path | None = None,
    variant: Variant | None = None,
    tiles: Path | None = None,
) -> Built:
    """Compiles the kernels for every path that the compiler knows.

    Args:
        target: Of the library; the user's cache if not given.
        checked: ``"sanitized"`` adds the address and undefined-behavior sanitizers.
        main: A source with a main function, for a program in place of a library.
        variant: Adds sources, such as those that call the kernels from JAX.
        tiles: A header that computes what tiles do, to try kernels for them on a processor with AVX-512 alone.

    Raises:
        ModelError: If there is no compiler, or it fails.
    """
    compiler, otherwise = find_compiler(), "PyTorch computes" if variant is None else variant.otherwise
    if compiler is None:
        raise ModelError(
            "There is no C++ compiler on this machine.",
            allowed="g++ 11 or clang++ 12, or newer; or $CXX.",
            next_step=f"Nothing is lost but speed: {otherwise}. On Debian and Ubuntu: apt install g++.",
        )
    if sys.platform == "win32":
        raise ModelError(
            "The kernels are not built on Windows.",
            next_step=f"Without them {otherwise}; nothing is lost but speed.",
        )
    target = target or library_path(variant)
    flags = (*_COMMON, *(_SANITIZE if checked == "sanitized" else ()))
    if tiles is not None:
        flags = (*flags, "-include", str(tiles), "-DOSLER_SIMULATED_TILES")
    x86 = platform.machine().lower() in ("x86_64", "amd64")
    sets = [_BASE | _X86 | _AMX, _BASE | _X86, _BASE] if x86 else [_BASE]
    if variant is not None:
        flags = (*flags, f"-I{SOURCES}", *(f"-isystem{folder}" for folder in variant.include))
        # Where all sources are for every processor, there is nothing to leave out.
        sets = [dict(_varied({}, variant=variant))] if variant.alone else [_varied(f, variant=variant) for f in sets]
    failures: list[str] = []
    for files in sets:
        failure = _compile(compiler, files, flags=flags, target=target, main=main)
        if failure is None:
            return Built(path=target, compiler=compiler, notes=tuple(failures))
        left = sorted(Path(file).name for file in set(sets[0]) - set(files)) if files is not sets[0] else []
        failures.append(f"{'without ' + ', '.join(left) + ': ' if left else ''}{failure}")
    raise ModelError(
        f"{compiler} could not compile the kernels: {failures[-1]}",
        allowed="g++ 11 or clang++ 12, or newer.",
        next_step=f"Name another compiler: CXX=clang++ osler build-kernels. Without kernels {otherwise}.",
    )


def require_own_file(path: str) -> None:
    """Refuses a library that someone else could have written.

    Raises:
        ModelError: If another user could change it.
    """
    status = Path(path).stat()
    if hasattr(os, "getuid") and (status.st_uid not in (os.getuid(), 0) or status.st_mode & 0o022):
        raise ModelError(f"the kernels at {path!r} could have been changed by another user")


def _varied(files: dict[str, Sequence[str]], *, variant: Variant) -> dict[str, Sequence[str]]:
    added = dict(variant.base)
    added |= variant.x86 if "avx2.cpp" in files else {}
    added |= variant.amx if "many_int8.cpp" in files else {}
    kept = {name: own for name, own in files.items() if name not in variant.without}
    return kept | {str(variant.folder / name): own for name, own in added.items()}


def _compile(
    compiler: str, files: dict[str, Sequence[str]], *, flags: Sequence[str], target: Path, main: Path | None
) -> str | None:
    """Compiles and links; returns the first line of the error, ``None`` where all went well."""
    defines = [name for name, file in (("-DOSLER_X86", "avx2.cpp"), ("-DOSLER_AMX", "many_int8.cpp")) if file in files]
    try:
        with tempfile.TemporaryDirectory() as scratch, whole_path(target) as part:
            target.parent.chmod(0o700)
            objects = [str(Path(scratch) / f"{Path(file).name}.o") for file in files]
            commands = [
                [compiler, *flags, *defines, *own, "-c", str(SOURCES / file), "-o", made]
                for (file, own), made in zip(files.items(), objects, strict=True)
            ]
            with ThreadPoolExecutor(os.cpu_count()) as pool:
                list(pool.map(_run, commands))
            kind = ["-shared"] if main is None else [f"-I{SOURCES}", str(main)]
            _run([compiler, *flags, *kind, "-pthread", *objects, "-o", str(part)])
    except subprocess.CalledProcessError as error:
        lines = [line for line in str(error.stderr).splitlines() if "error" in line]
        return lines[0] if lines else f"exit status {error.returncode}"
    except subprocess.TimeoutExpired:
        return f"no end after {_SECONDS} s"
    except OSError as error:
        raise ModelError(
            f"The kernels cannot be written to {str(target.parent)!r}: {error.strerror or error}.",
            next_step="Free some space, or set OSLER_CACHE to a folder that you can write to.",
        ) from error
    return None


def _run(command: Sequence[str]) -> None:
    subprocess.run(command, check=True, capture_output=True, text=True, timeout=_SECONDS)
