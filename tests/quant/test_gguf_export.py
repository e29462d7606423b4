"""GGUF files: the same codes as the folder, read back by Osler, dequantized by the reference package alike."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from gguf import GGMLQuantizationType, GGUFReader
from gguf.quants import dequantize as reference

from osler.errors import CheckpointError, RequestError
from osler.model.config import OslerConfig, get_config
from osler.quant.folder import WEIGHTS_FILE, load_quantized_folder, quantize_to_folder
from osler.quant.formats import parse_format
from osler.quant.gguf_blocks import block_format, to_blocks
from osler.quant.gguf_export import export_gguf
from osler.quant.gguf_header import header
from osler.quant.network import pack_product
from osler.quant.open import open_model
from osler.quant.packed import dequantize, quantize
from osler.quant.plan import QuantPlan, products
from osler.weights import GgufFile, load_checkpoint, load_huggingface, read_gguf
from osler.weights.gguf_config import config_from_gguf
from osler.weights.tokenizer import GemmaTokenizer

BLOCKS = {
    "int8-g32": "Q8_0",
    "int8-channel": "Q8_0",
    "int4-g32": "Q4_0",
    "int4-g64-asym": "Q4_1",
    "int4-g32-asym": "Q4_1",
}


FORMATS = [("int4-g32-asym", "int8-g32"), ("int4-g32", "int4-g64-asym"), ("int8-g64", "int8-channel")]


@pytest.fixture(scope="module", params=FORMATS)
def written(
    request: pytest.FixtureRequest, folder: Path, tmp_path_factory: pytest.TempPathFactory
) -> tuple[Path, Path]:
    """A quantized folder, and the file that was made of it."""
    place = tmp_path_factory.mktemp("gguf")
    layers, embedding = request.param
    quantize_to_folder(str(folder), place / "folder", bits=int(layers[3]), layers=layers, embedding=embedding)
    export_gguf(place / "folder", place / "file.gguf")
    return place / "folder", place / "file.gguf"


@pytest.mark.parametrize("name", BLOCKS)
def test_blocks_are_worth_what_the_packed_weight_is(name: str) -> None:
    weight = quantize(torch.randn(21, 128, generator=torch.Generator().manual_seed(0)), form=parse_format(name))
    kind = block_format(weight.format, columns=128, name="weight")
    assert kind == BLOCKS[name]
    found = reference(to_blocks(weight).numpy(), GGMLQuantizationType[kind])
    np.testing.assert_array_equal(found, dequantize(weight).numpy())
    part = to_blocks(weight, start=3, stop=19)
    assert torch.equal(part, to_blocks(weight)[3:19])


def test_what_gguf_has_no_blocks_for() -> None:
    with pytest.raises(RequestError, match=r"no blocks of 8 bits with an offset"):
        block_format(parse_format("int8-g32-asym"), columns=64, name="here")
    with pytest.raises(RequestError, match=r"blocks of 32 do not divide the 50 inputs of 'here'"):
        block_format(parse_format("int4-channel"), columns=50, name="here")


def test_the_file_is_read_back_to_the_same_values(written: tuple[Path, Path]) -> None:
    folder, path = written
    stored = load_quantized_folder(folder, dtype="float32").model
    found = load_checkpoint(path, dtype="float32").model
    ids_1L = torch.arange(110, 140)[None]
    with torch.inference_mode():
        wanted, states = (
            model.decoder(model.embed(ids_1L), positions_BL=torch.arange(30)[None]) for model in (stored, found)
        )
    torch.testing.assert_close(states, wanted, rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(
        found.decoder.embed_tokens.weight, dequantize(stored.decoder.embed_tokens.weight), rtol=0, atol=0
    )


def test_repacked_codes_are_those_of_the_folder(written: tuple[Path, Path]) -> None:
    folder, path = written
    file = open_model(path)
    kept = QuantPlan(bits=8, model="", formats={name: "int8-g32" for name, _, _ in products(file.config.decoder)})
    stored = load_quantized_folder(folder).model.decoder.layers[3].mlp.down_proj.weight
    (found,) = pack_product(file.source, "language_model.layers.3.mlp.down_proj", plan=kept)
    assert torch.equal(dequantize(found), dequantize(stored))
    if stored.format.name == found.format.name:
        assert torch.equal(found.codes, stored.codes)


def test_the_reference_package_reads_the_file(written: tuple[Path, Path]) -> None:
    folder, path = written
    stored = load_quantized_folder(folder).model.decoder
    tensors = {tensor.name: tensor for tensor in GGUFReader(path).tensors}
    table = tensors["token_embd.weight"]
    np.testing.assert_array_equal(
        reference(table.data, table.tensor_type), dequantize(stored.embed_tokens.weight).numpy()
    )
    assert tensors["blk.0.attn_norm.weight"].tensor_type == GGMLQuantizationType.F32


def test_network_and_tokenizer_are_described(written: tuple[Path, Path], folder: Path) -> None:
    file: GgufFile = read_gguf(written[1])
    config = load_huggingface(folder, dtype="float32").model.config
    assert config_from_gguf(file).decoder == config.decoder
    assert file.metadata["tokenizer.ggml.eot_token_id"] == config.tokens.end_of_turn
    assert file.metadata["osler.calibration"] == "none"
    text = "The heart is not enlarged.\n\n<start_of_turn>"
    wanted = GemmaTokenizer.from_folder(folder)
    found = GemmaTokenizer.from_gguf(file)
    assert found.encode(text) == wanted.encode(text)
    assert found.encode(text, specials="parse") == wanted.encode(text, specials="parse")


def test_what_llama_cpp_would_compute_otherwise_is_refused() -> None:
    config: OslerConfig = get_config("debug")
    other = replace(config, decoder=replace(config.decoder, global_every=4))
    with pytest.raises(RequestError, match=r"GGUF cannot describe the decoder of 'debug': global_every 4"):
        header(other, name="x", licence="y", tokenizer={})
    for name in ("osler-mini", "medgemma-1.5-4b", "gemma-2-2b"):
        header(get_config(name), name="x", licence="y", tokenizer={})


def test_bad_targets_and_damaged_folders(written: tuple[Path, Path], tmp_path: Path) -> None:
    folder, path = written
    with pytest.raises(RequestError, match=r"file\.gguf' exists"):
        export_gguf(folder, path)
    with pytest.raises(RequestError, match=r"There is no folder"):
        export_gguf(folder, tmp_path / "none" / "x.gguf")
    weights = folder / WEIGHTS_FILE
    content = weights.read_bytes()
    weights.write_bytes(content[:-64])
    try:
        with pytest.raises(CheckpointError, match=r"truncated or was changed"):
            export_gguf(folder, tmp_path / "x.gguf")
    finally:
        weights.write_bytes(content)
    assert not list(tmp_path.iterdir())
