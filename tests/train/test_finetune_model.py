"""What learns, and that its result is peft's: an adapter trained here gives the same logits in transformers."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import torch

from osler.model.config import get_config
from osler.model.osler import Osler
from osler.train.finetune_model import build_learner
from osler.train.finetune_stage import train_finetune
from osler.train.recipe import FinetuneRecipe, load_recipes
from osler.weights.assemble import empty_network
from osler.weights.checkpoint import load_checkpoint
from osler.weights.footprint import parameter_count
from osler.weights.huggingface import save_huggingface
from osler.weights.lora import LoraConfig, add_lora
from tests.train.small_base import questions, recipe_text, small_config, write_pictures, write_table

RECIPES = Path(__file__).resolve().parents[2] / "recipes"
_IDS = torch.arange(3, 43)[None]


def test_an_adapter_starts_as_nothing_and_is_float32(small_base: Path) -> None:
    recipe = FinetuneRecipe(stage="finetune", out="x", csv="x", base=str(small_base), rank=4)
    learner = build_learner(recipe, device=torch.device("cpu"))
    trainable = learner.trainable()
    assert len(trainable) == 2 * 7 * small_config().decoder.layers
    assert {p.dtype for p in trainable.values()} == {torch.float32}
    assert learner.model.decoder.embed_tokens.weight.dtype == torch.bfloat16
    base = load_checkpoint(small_base, dtype="bfloat16").model
    hidden = [m.decoder(m.embed(_IDS), positions_BL=_IDS - 3) for m in (base, learner.model)]
    assert torch.equal(*hidden)


def test_peft_reads_what_was_trained_on_a_published_folder(tmp_path: Path, small_base: Path) -> None:
    peft = pytest.importorskip("peft", reason="peft is not installed")
    from transformers import Gemma3ForConditionalGeneration

    torch.manual_seed(1)
    save_huggingface(Osler(small_config()), tmp_path / "base")
    load_checkpoint(small_base, dtype="float32").tokenizer.save(tmp_path / "base")
    names = write_pictures(tmp_path, count=5)
    csv_path = write_table(tmp_path / "data.csv", [{**row, "split": "train"} for row in questions(names)])
    text = recipe_text(base=tmp_path / "base", csv_path=csv_path, out=tmp_path / "out", steps=4)
    (tmp_path / "run.toml").write_text(text)
    train_finetune(load_recipes(tmp_path / "run.toml")[0])  # type: ignore[arg-type]
    ours = load_checkpoint(tmp_path / "out", dtype="float32").model
    plain = load_checkpoint(tmp_path / "base", dtype="float32").model
    base = Gemma3ForConditionalGeneration.from_pretrained(tmp_path / "base").eval()
    theirs = peft.PeftModel.from_pretrained(base, tmp_path / "out").eval()
    pixels = torch.rand(1, 3, 32, 32) * 2 - 1
    tokens = ours.config.tokens
    image = [tokens.start_of_image, *[tokens.image] * ours.config.image_tokens, tokens.end_of_image]
    ids = torch.tensor([[2, 5, *image, 9, 12, 44]])
    with torch.no_grad():
        found, before = (_logits(model, ids, pixels=pixels) for model in (ours, plain))
        expected = theirs(input_ids=ids, pixel_values=pixels, token_type_ids=(ids == tokens.image).long()).logits
    assert (found - before).abs().max() > 1e-3
    torch.testing.assert_close(found, expected, rtol=1e-3, atol=1e-4)


def _logits(model: Osler, ids: torch.Tensor, *, pixels: torch.Tensor) -> torch.Tensor:
    from osler.model.osler import image_blocks

    hidden = model.decoder(
        model.embed(ids, model.encode_images(pixels)),
        positions_BL=torch.arange(ids.shape[1])[None],
        image_blocks_BL=image_blocks(ids, image_token=model.config.tokens.image),
    )
    return model.logits(hidden)


def test_the_recipe_for_a_gpu_counts_right() -> None:
    text = (RECIPES / "medgemma_lora_gpu.toml").read_text(encoding="utf-8")
    (recipe,) = load_recipes(RECIPES / "medgemma_lora_gpu.toml")
    assert isinstance(recipe, FinetuneRecipe)
    config = get_config("medgemma-1.5-4b")
    (weights,) = re.findall(r"([\d.]+) billion weights", text)
    assert float(weights) == round(parameter_count(config) / 1e9, 2)
    model = empty_network(config)
    with torch.device("meta"):
        lora = add_lora(model.language_model, config=LoraConfig(rank=recipe.rank, alpha=recipe.alpha))
    (adapter,) = re.findall(r"([\d.]+) million weights", text)
    assert float(adapter) == round(sum(parameter.numel() for parameter in lora) / 1e6, 1)
