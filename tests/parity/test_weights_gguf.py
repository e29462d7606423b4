"""The embedded decoder against transformers' own loading of the same file."""

from __future__ import annotations

import importlib.util
import math
from pathlib import Path

import pytest
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

from osler.model.osler import Osler
from osler.weights.checkpoint import Checkpoint, load_checkpoint
from osler.weights.embedded import embedded_gguf

pytestmark = pytest.mark.slow

_PARAGRAPH = (
    "The lungs are a pair of spongy, air-filled organs located on either side of the chest. The windpipe conducts "
    "inhaled air into the lungs through its tubular branches, called bronchi. The bronchi then divide into smaller "
    "and smaller branches, finally becoming microscopic."
)
_PROMPT = "The most common cause of community-acquired pneumonia is"


@pytest.fixture(scope="module")
def ours() -> Checkpoint:
    return load_checkpoint("gemma-3-270m", dtype="float32")


@pytest.fixture(scope="module")
def path() -> Path:
    return embedded_gguf()


@torch.no_grad()
def _logits(model: Osler, ids: list[int]) -> torch.Tensor:
    hidden = model.decoder(model.embed(torch.tensor([ids])), positions_BL=torch.arange(len(ids))[None])
    return model.logits(hidden)[0]


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_perplexity_of_a_paragraph_is_sane(ours: Checkpoint, dtype: str) -> None:
    model = ours.model if dtype == "float32" else load_checkpoint("gemma-3-270m", dtype="bfloat16").model
    ids = [2, *ours.tokenizer.encode(_PARAGRAPH)]
    logits = _logits(model, ids).float()
    loss = torch.nn.functional.cross_entropy(logits[:-1], torch.tensor(ids[1:]))
    assert 2 < math.exp(loss) < 20


def test_weights_logits_and_greedy_tokens_equal_transformers(ours: Checkpoint, path: Path) -> None:
    theirs = AutoModelForCausalLM.from_pretrained(path.parent, gguf_file=path.name, dtype=torch.float32).eval()
    state = theirs.model.state_dict()
    for name, value in ours.model.state_dict().items():
        torch.testing.assert_close(value, state[name.removeprefix("language_model.")], rtol=0, atol=0, msg=name)
    ids = [2, *ours.tokenizer.encode(_PROMPT)]
    with torch.no_grad():
        expected = theirs(input_ids=torch.tensor([ids])).logits[0]
        generated = theirs.generate(torch.tensor([ids]), max_new_tokens=20, do_sample=False)[0].tolist()
    assert (_logits(ours.model, ids) - expected).abs().max() < 1e-4 * expected.abs().max()
    for _ in range(20):
        ids.append(int(_logits(ours.model, ids)[-1].argmax()))
    assert ids == generated


def test_token_ids_equal_transformers(ours: Checkpoint, path: Path, tmp_path: Path) -> None:
    corpus = _corpus()
    theirs = AutoTokenizer.from_pretrained(path.parent, gguf_file=path.name)
    for text in corpus:
        ids = ours.tokenizer.encode(text, specials="parse")
        assert ids == theirs.encode(text, add_special_tokens=False), repr(text)
        assert ours.tokenizer.decode(ids, specials="text") == theirs.decode(ids)
    ours.tokenizer.save(tmp_path)
    saved = AutoTokenizer.from_pretrained(tmp_path)
    for text in corpus[:1000]:
        assert ours.tokenizer.encode(text, specials="parse") == saved.encode(text, add_special_tokens=False), repr(text)


def _corpus() -> list[str]:
    path = Path(__file__).parents[1] / "weights" / "tokenizer_corpus.py"
    spec = importlib.util.spec_from_file_location("tokenizer_corpus", path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    strings = module.corpus()
    assert len(strings) == 10_000
    return strings
