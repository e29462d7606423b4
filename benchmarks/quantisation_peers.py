"""Other projects' 4 bits on the same texts and weights as `benchmarks.quantisation`, into the same rows.

    python -m benchmarks.quantisation_peers --out benchmarks/quantisation --work FOLDER --llama PYTHON

*llama.cpp*: the embedded model is exported at 8 bits (`osler quantize --out FILE.gguf`), llama.cpp's own quantizer
makes Q4_K_M and Q4_0 of it, and llama.cpp computes the scores; the export itself is read by llama.cpp too, which shows
that both projects give the same answers with the same codes. PYTHON is that of an environment with
``llama-cpp-python``.
*bitsandbytes* and *torchao*: the weights of the decoder's layers are quantized by the library, turned back by it, and
computed in bfloat16, so that only the format counts; the embedding, which is the head, stays at 8 bits, as in Osler's
plan. Bytes are those that the formats store. Each row says the version that it was measured with.
"""

from __future__ import annotations

import argparse
import json
import subprocess
from collections.abc import Callable, Iterator, Mapping
from importlib import metadata
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from benchmarks.quantisation import CHUNK, Row, Texts, row_of, texts_of, write_page
from osler.model.config import OslerConfig
from osler.model.osler import Osler
from osler.quant import parse_format
from osler.quant.folder import quantize_to_folder
from osler.quant.gguf_export import export_gguf
from osler.quant.plan import EMBEDDING, products
from osler.weights import load_checkpoint

_GROUP = 32
_LLAMA = """
import ctypes, json, os, sys
import numpy as np
import llama_cpp
source, target, ftype, texts, out = json.loads(sys.stdin.readline())
if ftype >= 0:
    options = llama_cpp.llama_model_quantize_default_params()
    options.ftype, options.allow_requantize, options.nthread = ftype, True, 1
    if llama_cpp.llama_model_quantize(source.encode(), target.encode(), ctypes.byref(options)):
        sys.exit("llama.cpp could not quantize")
llama = llama_cpp.Llama(target, n_ctx=256, n_batch=256, n_threads=1, n_threads_batch=1, logits_all=True, verbose=False)
for number, ids in enumerate(texts):
    llama.reset()
    llama.eval(ids)
    np.save(os.path.join(out, f"{number}.npy"), llama.scores[: len(ids) - 1].astype(np.float16))
print(json.dumps([os.path.getsize(target), llama_cpp.__version__]))
"""

LLAMA_FORMATS = {"llama.cpp, Osler's 8 bits": -1, "llama.cpp Q4_K_M": 15, "llama.cpp Q4_0": 2}
"""Numbers of llama.cpp's file types; -1 reads the export as it is."""


def llama_rows(options: argparse.Namespace, *, texts: Texts) -> Iterator[Row]:
    """Scores of llama.cpp."""
    source = options.work / "osler-mini-8.gguf"
    if not source.is_file():
        folder = options.work / "export-8"
        if not (folder / "config.json").is_file():
            quantize_to_folder(options.model, folder, bits=8)
        export_gguf(folder, source)
    ids = [text[0].tolist() for text in texts.ids]
    for name, kind in LLAMA_FORMATS.items():
        target = source if kind < 0 else options.work / f"osler-mini-{kind}.gguf"
        out = options.work / "llama-scores"
        out.mkdir(exist_ok=True)
        request = json.dumps([str(source), str(target), kind, ids, str(out)])
        found = subprocess.run(
            [str(options.llama), "-c", _LLAMA], input=request + "\n", capture_output=True, text=True, check=False
        )
        if found.returncode:
            raise SystemExit(f"llama.cpp has ended: {found.stderr[-500:]}")
        kept = (torch.from_numpy(np.load(out / f"{number}.npy")) for number in range(len(ids)))
        scores = (list(part.float().split(CHUNK)) for part in kept)
        size, version = json.loads(found.stdout.splitlines()[-1])
        row = row_of(name, texts.compare(scores), size=size, method="none")
        yield row | {"version": f"llama-cpp-python {version}"}


def nf4(weight_NK: Tensor) -> tuple[Tensor, int]:
    """Through NF4 of bitsandbytes in blocks of 64, and the bytes that it stores."""
    from bitsandbytes.functional import dequantize_4bit, quantize_4bit

    packed, state = quantize_4bit(weight_NK.contiguous(), blocksize=64, quant_type="nf4")
    return dequantize_4bit(packed, state), packed.nbytes + state.absmax.nbytes


def torchao_int4(weight_NK: Tensor) -> tuple[Tensor, int]:
    """Through whole numbers of 4 bits of torchao in groups of 32 with offsets, and the bytes that it stores packed."""
    from torchao.quantization import IntxWeightOnlyConfig, PerGroup, quantize_
    from torchao.quantization.quant_primitives import MappingType

    linear = nn.Linear(weight_NK.shape[1], weight_NK.shape[0], bias=False, dtype=weight_NK.dtype)
    linear.weight = nn.Parameter(weight_NK.clone(), requires_grad=False)
    form = IntxWeightOnlyConfig(
        weight_dtype=torch.int4, granularity=PerGroup(_GROUP), mapping_type=MappingType.ASYMMETRIC
    )
    quantize_(linear, form)
    # Codes of half a byte, a scale in bfloat16 and a zero point of one byte a group.
    return linear.weight.dequantize(), weight_NK.numel() // 2 + weight_NK.numel() // _GROUP * 3


LIBRARIES: Mapping[str, Callable[[Tensor], tuple[Tensor, int]]] = {
    "bitsandbytes NF4": nf4,
    "torchao int4, groups of 32": torchao_int4,
}


@torch.no_grad()
def library_rows(options: argparse.Namespace, *, texts: Texts) -> Iterator[Row]:
    """Scores with the weights of other libraries."""
    for name, through in LIBRARIES.items():
        checkpoint = load_checkpoint(options.model, dtype="bfloat16")
        size = _head_bytes(checkpoint.model.config) + _replace(checkpoint.model, through=through)
        row = row_of(name, texts.compare_model(checkpoint.model), size=size, method="none")
        library = name.partition(" ")[0]
        yield row | {"version": f"{library} {metadata.version(library)}"}


def _head_bytes(config: OslerConfig) -> int:
    (shape,) = ((rows, columns) for name, rows, columns in products(config.decoder) if name == EMBEDDING)
    return parse_format("int8-g32").bytes(shape[0], columns=shape[1])


def _replace(model: Osler, *, through: Callable[[Tensor], tuple[Tensor, int]]) -> int:
    size = 0
    for layer in model.decoder.layers:
        for module in layer.modules():
            if isinstance(module, nn.Linear):
                changed, stored = through(module.weight.data)
                module.weight.data = changed.to(module.weight.dtype)
                size += stored
    return size


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model", default="osler-mini")
    parser.add_argument("--texts", type=int, default=10, help="paragraphs at most")
    parser.add_argument("--peers", nargs="*", default=["llama", "libraries"])
    parser.add_argument("--work", type=Path, required=True, help="folder for files and scores")
    parser.add_argument("--llama", type=Path, help="the Python of an environment with llama-cpp-python")
    parser.add_argument("--out", type=Path, required=True, help="OUT.json of benchmarks.quantisation")
    options = parser.parse_args()
    options.work.mkdir(parents=True, exist_ok=True)
    path = options.out.with_suffix(".json")
    texts = texts_of(options.model, count=options.texts)
    ways = {"llama": llama_rows, "libraries": library_rows}
    for peer in options.peers:
        for row in ways[peer](options, texts=texts):
            result = json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {"rows": {}}
            result["rows"][row["name"]] = row
            print(json.dumps(row), flush=True)
            path.write_text(json.dumps(result, indent=2) + "\n", encoding="utf-8")
    write_page(path)


if __name__ == "__main__":
    main()
