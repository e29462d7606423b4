"""A small Gemma-like tokenizer, the published chat template, and studies made in code."""

from __future__ import annotations

import numpy as np
import pytest
import tokenizers
from tokenizers import AddedToken, decoders, models, normalizers

from osler.prepare import Preprocess
from osler.study import Affine, ArrayPixels, Image, Study, TimePoint, Volume

# A busy machine must not fail a property.

CONTROL = (
    "<pad>", "<eos>", "<bos>", "<unk>", "<start_of_turn>", "<end_of_turn>",
    "<start_of_image>", "<end_of_image>", "<image_soft_token>",
)  # fmt: skip

# Written out here after the template of Gemma 3 instruction-tuned checkpoints.
CHAT_TEMPLATE = """{{ bos_token }}
{%- if messages[0]['role'] == 'system' -%}
    {%- if messages[0]['content'] is string -%}
        {%- set first_user_prefix = messages[0]['content'] + '\n\n' -%}
    {%- else -%}
        {%- set first_user_prefix = messages[0]['content'][0]['text'] + '\n\n' -%}
    {%- endif -%}
    {%- set loop_messages = messages[1:] -%}
{%- else -%}
    {%- set first_user_prefix = "" -%}
    {%- set loop_messages = messages -%}
{%- endif -%}
{%- for message in loop_messages -%}
    {%- if (message['role'] == 'user') != (loop.index0 % 2 == 0) -%}
        {{ raise_exception("Conversation roles must alternate user/assistant/user/assistant/...") }}
    {%- endif -%}
    {%- if (message['role'] == 'assistant') -%}
        {%- set role = "model" -%}
    {%- else -%}
        {%- set role = message['role'] -%}
    {%- endif -%}
    {{ '<start_of_turn>' + role + '\n' + (first_user_prefix if loop.first else "") }}
    {%- if message['content'] is string -%}
        {{ message['content'] | trim }}
    {%- elif message['content'] is iterable -%}
        {%- for item in message['content'] -%}
            {%- if item['type'] == 'image' -%}
                {{ '<start_of_image>' }}
            {%- elif item['type'] == 'text' -%}
                {{ item['text'] | trim }}
            {%- endif -%}
        {%- endfor -%}
    {%- else -%}
        {{ raise_exception("Invalid content type") }}
    {%- endif -%}
    {{ '<end_of_turn>\n' }}
{%- endfor -%}
{%- if add_generation_prompt -%}
    {{ '<start_of_turn>model\n' }}
{%- endif -%}
"""


def build_tokenizer() -> tokenizers.Tokenizer:
    """Gemma's tokenizer in small: BPE with byte fallback, runs of newlines as one token."""
    words = ["SLICE", "\u2581the", "model", "user", "image", "\u2581is"]
    vocab = {token: index for index, token in enumerate(CONTROL)}
    for token in [f"<0x{byte:02X}>" for byte in range(256)]:
        vocab[token] = len(vocab)
    for code in [*range(33, 127), 0x2581]:
        vocab.setdefault(chr(code), len(vocab))
    merges = []
    for word in words:
        for end in range(2, len(word) + 1):
            if word[:end] not in vocab:
                vocab[word[:end]] = len(vocab)
                merges.append((word[: end - 1], word[end - 1]))
    tokenizer = tokenizers.Tokenizer(
        models.BPE(vocab=vocab, merges=merges, unk_token="<unk>", byte_fallback=True, fuse_unk=True)
    )
    tokenizer.normalizer = normalizers.Replace(" ", "\u2581")
    tokenizer.decoder = decoders.Sequence([decoders.Replace("\u2581", " "), decoders.ByteFallback(), decoders.Fuse()])
    tokenizer.add_special_tokens([AddedToken(token, special=True, normalized=False) for token in CONTROL])
    tokenizer.add_tokens([AddedToken("\n" * count, normalized=False) for count in range(1, 9)])
    return tokenizer


class SmallTokenizer:
    """The protocol of `osler.prepare` over a `tokenizers.Tokenizer`."""

    def __init__(self, backend: tokenizers.Tokenizer) -> None:
        self.backend = backend

    def encode(self, text: str, *, specials: str = "text") -> list[int]:
        self.backend.encode_special_tokens = specials == "text"
        return self.backend.encode(text, add_special_tokens=False).ids

    def decode(self, ids: list[int]) -> str:
        return self.backend.decode(list(ids), skip_special_tokens=False)

    def id(self, token: str) -> int:
        return self.backend.token_to_id(token)


class Tokens:
    """Ids of the control tokens in the small tokenizer."""

    bos = CONTROL.index("<bos>")
    start_of_turn = CONTROL.index("<start_of_turn>")
    end_of_turn = CONTROL.index("<end_of_turn>")
    start_of_image = CONTROL.index("<start_of_image>")
    end_of_image = CONTROL.index("<end_of_image>")
    image = CONTROL.index("<image_soft_token>")


@pytest.fixture(scope="session")
def tokenizer() -> SmallTokenizer:
    return SmallTokenizer(build_tokenizer())


@pytest.fixture(scope="session")
def tokens() -> type[Tokens]:
    return Tokens


@pytest.fixture(scope="session")
def chat_template() -> str:
    return CHAT_TEMPLATE


@pytest.fixture
def contract() -> Preprocess:
    return Preprocess(image_size=64, image_tokens=4, sampling="equidistant")


@pytest.fixture
def published() -> Preprocess:
    return Preprocess(image_size=896, image_tokens=256, sampling="published", prompt="published")


def xray_pixels(*, rows: int = 300, columns: int = 256, seed: int = 0) -> np.ndarray:
    """A smooth 8-bit picture with noise, the same on every machine."""
    row, column = np.mgrid[:rows, :columns]
    noise = np.random.RandomState(seed).randint(0, 40, (rows, columns))
    return ((row * 5 + column * 3) // 11 % 200 + noise).astype(np.uint8)


def ct_pixels(*, slices: int = 7, rows: int = 64, columns: int = 48, seed: int = 1) -> np.ndarray:
    """Whole HU from -1500 to 2500, beyond all windows."""
    return np.random.RandomState(seed).randint(-1500, 2500, (slices, rows, columns)).astype(np.int16)


def mr_pixels(*, slices: int = 6, rows: int = 40, columns: int = 56, seed: int = 2) -> np.ndarray:
    """Arbitrary whole numbers from 3 to 1777."""
    return np.random.RandomState(seed).randint(3, 1778, (slices, rows, columns)).astype(np.uint16)


def volume_of(array: np.ndarray, *, modality: str = "CT", units: str = "HU", series: str = "1.2.3") -> Volume:
    return Volume(
        series=series,
        pixels=ArrayPixels(array),
        affine=Affine.from_parts(spacing=(0.7, 0.8, 3.0), origin=(-100.0, -120.0, 40.0)),
        modality=modality,
        units=units,
    )


def image_of(array: np.ndarray, *, modality: str = "DX", units: str = "arbitrary", series: str = "4.5.6") -> Image:
    return Image(series=series, pixels=ArrayPixels(array), modality=modality, units=units)


def study_of(*series: Volume | Image) -> Study:
    return Study(timepoints=(TimePoint(series=series),))


class Make:
    """The makers above, for tests."""

    xray_pixels = staticmethod(xray_pixels)
    ct_pixels = staticmethod(ct_pixels)
    mr_pixels = staticmethod(mr_pixels)
    volume = staticmethod(volume_of)
    image = staticmethod(image_of)
    study = staticmethod(study_of)


@pytest.fixture(scope="session")
def make() -> type[Make]:
    return Make
