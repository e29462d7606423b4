"""LLaVA-Med is rebuilt from its published layout: same logits as its parts put together by hand."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from transformers import CLIPVisionConfig, CLIPVisionModel, MistralConfig, MistralForCausalLM

from osler.errors import CheckpointError
from osler.evaluate.peers import find_peer
from osler.evaluate.peers.llava_med import CLIP_MEAN, LlavaMedPeer, clip_pixels
from osler.evaluate.responder import Inquiry
from osler.study import ArrayPixels, Image, Study, TimePoint
from tests.evaluate.peers.sentences import write_sentencepiece

CLIP = {
    "hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 3, "num_attention_heads": 2,
    "image_size": 28, "patch_size": 14, "projection_dim": 16,
}  # fmt: skip
TEXT = {
    "hidden_size": 24, "intermediate_size": 40, "num_hidden_layers": 2, "num_attention_heads": 4,
    "num_key_value_heads": 2, "head_dim": 6, "max_position_embeddings": 256, "rms_norm_eps": 1e-5,
    "rope_theta": 1e6, "sliding_window": None, "bos_token_id": 1, "eos_token_id": 2,
}  # fmt: skip


class Parts:
    """The published parts, with random weights."""

    def __init__(self, vocab: int) -> None:
        torch.manual_seed(0)
        self.text = MistralForCausalLM(MistralConfig(vocab_size=vocab, **TEXT)).eval()
        self.clip = CLIPVisionModel(CLIPVisionConfig(**CLIP)).eval()
        self.mlp = torch.nn.Sequential(torch.nn.Linear(32, 24), torch.nn.GELU(), torch.nn.Linear(24, 24)).eval()

    def write(self, folder: Path, *, clip_inside: bool) -> None:
        tensors = {name: tensor.contiguous() for name, tensor in self.text.state_dict().items()}
        tensors |= {f"model.mm_projector.{name}": tensor for name, tensor in self.mlp.state_dict().items()}
        clip = {
            "vision_model." + name.removeprefix("vision_model."): tensor
            for name, tensor in self.clip.state_dict().items()
        }
        (folder / "clip").mkdir()
        (folder / "clip" / "config.json").write_text(json.dumps({"vision_config": CLIP}))
        if clip_inside:
            tensors |= {f"model.vision_tower.vision_tower.{name}": tensor for name, tensor in clip.items()}
        else:
            save_file(clip, folder / "clip" / "model.safetensors")
        save_file(tensors, folder / "model-00001-of-00001.safetensors")
        config = {"model_type": "llava_mistral", "mm_projector_type": "mlp2x_gelu", "mm_use_im_start_end": False}
        vocab = self.text.config.vocab_size
        (folder / "config.json").write_text(
            json.dumps({**config, "mm_vision_select_layer": -2, "vocab_size": vocab, **TEXT})
        )

    @torch.inference_mode()
    def logits(self, *, before: list[int], pixels: np.ndarray, after: list[int]) -> torch.Tensor:
        """The published forward pass: image features in place of the image token (llava_arch.py)."""
        states = self.clip(torch.from_numpy(pixels)[None], output_hidden_states=True).hidden_states[-2][:, 1:]
        embed = self.text.get_input_embeddings()
        parts = [embed(torch.tensor([before])), self.mlp(states), embed(torch.tensor([after]))]
        return self.text(inputs_embeds=torch.cat(parts, dim=1)).logits[0, -1]


def study() -> Study:
    pixels = np.random.default_rng(0).integers(0, 255, (40, 30, 3)).astype(np.uint8)
    image = Image(series="x", pixels=ArrayPixels(pixels), modality="XC", units="RGB")
    return Study(timepoints=(TimePoint(series=(image,)),))


@pytest.mark.parametrize("clip_inside", [True, False])
def test_logits_are_those_of_the_published_parts(tmp_path: Path, clip_inside: bool) -> None:
    vocab = write_sentencepiece(tmp_path)
    parts = Parts(vocab)
    parts.write(tmp_path, clip_inside=clip_inside)
    assert isinstance(find_peer(str(tmp_path)), LlavaMedPeer)
    responder = LlavaMedPeer().load(tmp_path, device="cpu")
    inquiry = Inquiry(study=study(), question="Is there a mass?")
    inputs = responder.inputs(inquiry)
    tokenizer = responder._tokenizer
    before = tokenizer("[INST] ")["input_ids"]
    after = tokenizer("\nIs there a mass? [/INST]")["input_ids"][1:]
    assert before[0] == 1
    assert inputs["input_ids"][0].tolist() == [*before, 0, 0, 0, 0, *after]
    with torch.inference_mode():
        found = responder._model(**inputs).logits[0, -1]
    pixels = clip_pixels(np.asarray(study().images()[0].read()), size=28)
    expected = parts.logits(before=before, pixels=pixels, after=after)
    assert torch.allclose(found, expected, atol=1e-5)
    log_probabilities = torch.log_softmax(expected, dim=-1)
    ids = tokenizer("Yes", add_special_tokens=False)["input_ids"]
    scored = responder.score(inquiry, ["Yes", "No"])
    if len(ids) == 1:
        assert scored[0] == pytest.approx(float(log_probabilities[ids[0]]), abs=1e-4)
    assert all(value < 0 for value in scored)
    (text,) = responder.ask([inquiry], max_tokens=4)
    assert isinstance(text, str)
    assert responder.meter.answer_tokens <= 4
    assert responder.meter.prompt_tokens == inputs["input_ids"].shape[1]


def test_a_wide_picture_is_padded_with_the_mean_color() -> None:
    white = np.full((10, 30, 3), 255, dtype=np.uint8)
    pixels = clip_pixels(white, size=30)
    assert pixels.shape == (3, 30, 30)
    assert np.abs(pixels[:, 0]).max() < 0.02  # the padding is the mean, so zero after normalizing
    assert pixels[:, 15].min() > 1.5
    assert len(CLIP_MEAN) == 3


def test_without_clip_the_error_says_where_it_belongs(tmp_path: Path) -> None:
    parts = Parts(write_sentencepiece(tmp_path))
    parts.write(tmp_path, clip_inside=False)
    (tmp_path / "clip" / "model.safetensors").unlink()
    with pytest.raises(CheckpointError, match=r"holds no image tower.*clip-vit-large-patch14-336"):
        LlavaMedPeer().load(tmp_path, device="cpu")


def test_missing_tensors_are_named(tmp_path: Path) -> None:
    parts = Parts(write_sentencepiece(tmp_path))
    parts.text.model.layers = parts.text.model.layers[:1]
    parts.write(tmp_path, clip_inside=True)
    with pytest.raises(CheckpointError, match=r"lack 9 tensors.*layers\.1\."):
        LlavaMedPeer().load(tmp_path, device="cpu")
