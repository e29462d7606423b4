"""llama.cpp reads Osler's export and writes what Osler writes from the same weights.

It runs in a process of its own: ``OSLER_LLAMA_PYTHON`` names the Python of
another environment that has ``llama-cpp-python``; by default this one is asked.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from osler.engine.runner import Runner
from osler.model.config import OslerConfig
from osler.model.osler import Osler
from osler.quant.folder import load_quantized_folder, quantize_to_folder
from osler.quant.gguf_export import export_gguf
from osler.weights import save_huggingface
from osler.weights.tokenizer import GemmaTokenizer

VARIABLE = "OSLER_LLAMA_PYTHON"
PADDED = 544
COUNT = 6
TEXT = "The heart is not enlarged. No effusion?\n<start_of_turn>"

_SCRIPT = """
import json, sys
import numpy as np
from llama_cpp import Llama
path, ids, count, text = json.loads(sys.stdin.readline())
llama = Llama(path, n_ctx=256, n_batch=64, n_threads=1, n_threads_batch=1, logits_all=True, type_k=0, type_v=0)
llama.eval(ids)
found = []
for _ in range(count):
    found.append(int(np.argmax(llama.scores[llama.n_tokens - 1])))
    llama.eval(found[-1:])
pieces = llama.tokenize(text.encode(), add_bos=False, special=True)
print(json.dumps([found, pieces, llama.n_vocab()]))
"""


def _llama(path: Path, *, ids: list[int]) -> tuple[list[int], list[int], int]:
    """Greedy tokens after some ids, the ids of `TEXT`, and the rows of the vocabulary, by llama.cpp."""
    request = json.dumps([str(path), ids, COUNT, TEXT])
    done = subprocess.run(
        [os.environ.get(VARIABLE, sys.executable), "-c", _SCRIPT],
        input=request + "\n",
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )
    # What llama.cpp says to its log is the only reason that it gives.
    assert done.returncode == 0, done.stderr[-2000:]
    tokens, pieces, rows = json.loads(done.stdout.splitlines()[-1])
    return tokens, pieces, rows


def _written(runner: Runner, ids: list[int]) -> tuple[float, list[int], list[int]]:
    """The least lead of the likeliest token, in deviations of the scores; the ids before, and Osler's after them."""
    cache = runner.new_cache(planned=len(ids) + COUNT)
    logits_1V = runner.read(torch.tensor([ids]), features_NTD=None, cache=cache)
    lead, wanted = torch.inf, []
    for _ in range(COUNT):
        best, second = logits_1V[0].topk(2).values
        lead = min(lead, float((best - second) / logits_1V.std()))
        wanted.append(int(logits_1V.argmax()))
        logits_1V = runner.step(torch.tensor(wanted[-1:]), cache=cache)
    return lead, ids, wanted


@pytest.fixture(scope="module", autouse=True)
def _llama_is_here() -> None:
    asked = subprocess.run(
        [os.environ.get(VARIABLE, sys.executable), "-c", "import llama_cpp"], capture_output=True, check=False
    )
    if asked.returncode:
        pytest.skip(f"llama-cpp-python is not installed here, and {VARIABLE} names no environment that has it")


@pytest.fixture(scope="module")
def padded(config: OslerConfig) -> Osler:
    """Random weights of the published kind in small: grouped keys, normalized queries and keys, sliding layers,
    stretched positions, and an embedding with more rows than the tokenizer has pieces."""
    network = Osler(replace(config, decoder=replace(config.decoder, vocab=PADDED))).eval().requires_grad_(False)
    generator = torch.Generator().manual_seed(0)
    for parameter in network.parameters():
        parameter.normal_(std=0.15, generator=generator)
    network.decoder.embed_tokens.weight.mul_(0.1)
    return network


@pytest.mark.parametrize(("layers", "embedding"), [("int8-g32", "int8-g32"), ("int4-g32", "int8-g32")])
def test_llama_cpp_writes_the_same(
    padded: Osler, tokenizer: GemmaTokenizer, tmp_path: Path, layers: str, embedding: str
) -> None:
    save_huggingface(padded, tmp_path / "model", tokenizer=tokenizer)
    folder, path = tmp_path / "folder", tmp_path / "file.gguf"
    quantize_to_folder(str(tmp_path / "model"), folder, bits=int(layers[3]), layers=layers, embedding=embedding)
    export_gguf(folder, path)
    runner = Runner(load_quantized_folder(folder, dtype="float32").model)
    # Longer than the window of 24 tokens. llama.cpp rounds activations, and random networks know near ties: the prompt
    # whose answer is clearest says which ids are right.
    prompts = [torch.randint(110, 490, (40,), generator=torch.Generator().manual_seed(n)).tolist() for n in range(40)]
    lead, ids, wanted = max(_written(runner, ids) for ids in prompts)
    assert lead > 0.1
    found, pieces, rows = _llama(path, ids=ids)
    assert rows == PADDED
    assert pieces == tokenizer.encode(TEXT, specials="parse")
    assert found == wanted
