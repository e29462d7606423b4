"""LLaVA-Med v1.5 (``microsoft/llava-med-v1.5-mistral-7b``): Mistral 7B, CLIP ViT-L/14 at 336 px, a two-layer MLP.

The checkpoint names its own model class, which ``transformers`` does not have. Its
parts are those of `LlavaForConditionalGeneration`, so its tensors are renamed into
that. The prompt is that of its repository (``mistral_instruct``): no system text,
``[INST] <image>\\n{question} [/INST]``, each side of the image tokenized by itself.
The picture is padded to a square with CLIP's mean color.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image as Picture

from osler.errors import CheckpointError
from osler.evaluate.peers.causal import CausalResponder, folder_key, picture_of, place_for
from osler.evaluate.responder import Inquiry
from osler.extras import import_extra
from osler.weights.json_file import read_json

CLIP_MEAN = (0.48145466, 0.4578275, 0.40821073)
CLIP_STD = (0.26862954, 0.26130258, 0.27577711)
_CLIP_FOLDER = "clip"
_CLIP_L_336 = {
    "hidden_size": 1024, "intermediate_size": 4096, "num_hidden_layers": 24, "num_attention_heads": 16,
    "image_size": 336, "patch_size": 14, "projection_dim": 768,
}  # fmt: skip
_NOTE = (
    "LLaVA-Med answers about one picture: of a volume, the middle slice. Not checked against the published weights: "
    "the renaming and the prompt are tested on random weights of the same layout."
)
_RENAMED = (
    ("model.vision_tower.vision_tower.vision_model.", "model.vision_tower."),
    ("model.mm_projector.0.", "model.multi_modal_projector.linear_1."),
    ("model.mm_projector.2.", "model.multi_modal_projector.linear_2."),
    ("lm_head.", "lm_head."),
    ("model.", "model.language_model."),
)


class LlavaMedPeer:
    """Reads a folder as it is published; CLIP in a subfolder ``clip`` where the checkpoint does not hold it."""

    def load(self, folder: Path, *, device: str) -> LlavaMedResponder:
        """Loads the checkpoint; see `Peer.load`."""
        transformers: Any = import_extra("transformers", extra="peers")
        import_extra("sentencepiece", extra="peers")
        place = place_for(device)
        config = llava_config(folder, transformers=transformers)
        dtype = torch.float32 if place.type == "cpu" else torch.bfloat16
        tensors = renamed_tensors(folder)
        _check(transformers.LlavaForConditionalGeneration, tensors, config=config)
        model = transformers.LlavaForConditionalGeneration.from_pretrained(
            None, config=config, state_dict=tensors, dtype=dtype
        )
        model.generation_config.eos_token_id = config.text_config.eos_token_id
        tokenizer = transformers.AutoTokenizer.from_pretrained(folder, local_files_only=True, use_fast=False)
        return LlavaMedResponder(
            name=folder.resolve().name,
            key=folder_key(folder),
            model=model.to(place),
            tokenizer=tokenizer,
            note=_NOTE,
        )


class LlavaMedResponder(CausalResponder):
    """Asks as LLaVA-Med's own evaluation does."""

    def inputs(self, inquiry: Inquiry) -> Mapping[str, torch.Tensor]:
        """Tokens with one place a patch of the image, and its pixels."""
        config, device = self._model.config, self._model.device
        question = f"{inquiry.record}\n{inquiry.question}" if inquiry.record else inquiry.question
        picture = picture_of(inquiry.study)
        if picture is None:
            ids = self._tokenizer(f"[INST] {question} [/INST]")["input_ids"]
            return {"input_ids": torch.tensor([ids], device=device)}
        before = self._tokenizer("[INST] ")["input_ids"]
        after = self._tokenizer(f"\n{question} [/INST]")["input_ids"]
        start = [self._tokenizer.bos_token_id]
        after = after[1:] if after[:1] == start else after
        side = config.vision_config.image_size // config.vision_config.patch_size
        ids = [*before, *[config.image_token_id] * side**2, *after]
        pixels = clip_pixels(picture, size=config.vision_config.image_size)
        return {
            "input_ids": torch.tensor([ids], device=device),
            "pixel_values": torch.from_numpy(pixels)[None].to(device, self._model.dtype),
        }


def llava_config(folder: Path, *, transformers: Any) -> Any:
    """The configuration in ``transformers`` of a published folder.

    Raises:
        CheckpointError: If it is not LLaVA-Med v1.5.
    """
    content = read_json(folder / "config.json")
    if content.get("mm_projector_type") != "mlp2x_gelu" or content.get("mm_use_im_start_end"):
        raise CheckpointError(
            f"{str(folder)!r} has the projector {content.get('mm_projector_type')!r}.",
            allowed="LLaVA-Med v1.5: 'mlp2x_gelu', without start and end tokens of images.",
        )
    text = transformers.MistralConfig(
        **{name: value for name, value in content.items() if name in _MISTRAL_FIELDS and value is not None}
    )
    clip = _CLIP_L_336
    if (folder / _CLIP_FOLDER / "config.json").is_file():
        stored = read_json(folder / _CLIP_FOLDER / "config.json")
        stored = stored.get("vision_config", stored)
        clip = {name: stored.get(name, value) for name, value in _CLIP_L_336.items()}
    return transformers.LlavaConfig(
        vision_config=transformers.CLIPVisionConfig(**clip),
        text_config=text,
        # No text becomes the unknown token, as bytes stand for what the vocabulary lacks: its id marks the image.
        image_token_index=0,
        vision_feature_layer=int(content.get("mm_vision_select_layer", -2)),
        vision_feature_select_strategy="default",
        projector_hidden_act="gelu",
        tie_word_embeddings=False,
    )


_MISTRAL_FIELDS = frozenset(
    {
        "vocab_size", "hidden_size", "intermediate_size", "num_hidden_layers", "num_attention_heads",
        "num_key_value_heads", "head_dim", "hidden_act", "max_position_embeddings", "rms_norm_eps", "rope_theta",
        "sliding_window", "bos_token_id", "eos_token_id",
    }
)  # fmt: skip


def renamed_tensors(folder: Path) -> dict[str, torch.Tensor]:
    """All tensors of a folder under the names of ``transformers``; those of CLIP from its subfolder if absent.

    Raises:
        CheckpointError: If there are no safetensors, or CLIP is nowhere.
    """
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    paths = sorted(folder.glob("*.safetensors"))
    clip_paths = sorted((folder / _CLIP_FOLDER).glob("*.safetensors"))
    if not paths:
        raise CheckpointError(f"No safetensors in {str(folder)!r}.", allowed="The files as they are published.")
    try:
        tensors = {_renamed(name): tensor for path in paths for name, tensor in load_file(path).items()}
        if not any(name.startswith("model.vision_tower.") for name in tensors):
            stored = {name: tensor for path in clip_paths for name, tensor in load_file(path).items()}
            tensors |= {
                "model.vision_tower." + name.removeprefix("vision_model."): tensor
                for name, tensor in stored.items()
                if name.startswith("vision_model.")
            }
    except (OSError, SafetensorError) as error:
        raise CheckpointError(f"The weights in {str(folder)!r} cannot be read: {error}.") from error
    if not any(name.startswith("model.vision_tower.") for name in tensors):
        raise CheckpointError(
            f"{str(folder)!r} holds no image tower.",
            next_step=f"Copy openai/clip-vit-large-patch14-336 (config.json, safetensors) into its folder "
            f"{_CLIP_FOLDER!r}.",
        )
    return tensors


def _renamed(name: str) -> str:
    for old, new in _RENAMED:
        if name.startswith(old):
            return new + name.removeprefix(old)
    return name


def _check(kind: Any, tensors: Mapping[str, torch.Tensor], *, config: Any) -> None:
    with torch.device("meta"):
        wanted = {name: tuple(tensor.shape) for name, tensor in kind(config).state_dict().items()}
    found = {name: tuple(tensor.shape) for name, tensor in tensors.items()}
    wrong = [name for name, shape in wanted.items() if found.get(name) != shape]
    if wrong:
        raise CheckpointError(
            f"The weights lack {len(wrong)} tensors of LLaVA-Med v1.5 or have them in another shape, "
            f"such as {wrong[0]!r} ({found.get(wrong[0])} instead of {wanted[wrong[0]]})."
        )


def clip_pixels(picture: np.ndarray, *, size: int) -> np.ndarray:
    """Pads a picture to a square with CLIP's mean color, resizes (bicubic) and normalizes it, (3, S, S) float32."""
    height, width = picture.shape[:2]
    side = max(height, width)
    square = np.empty((side, side, 3), dtype=np.uint8)
    square[:] = [int(mean * 255) for mean in CLIP_MEAN]
    top, left = (side - height) // 2, (side - width) // 2
    square[top : top + height, left : left + width] = picture
    resized = np.asarray(Picture.fromarray(square).resize((size, size), Picture.Resampling.BICUBIC), dtype=np.float32)
    normalized = (resized / 255 - np.array(CLIP_MEAN, dtype=np.float32)) / np.array(CLIP_STD, dtype=np.float32)
    return np.ascontiguousarray(normalized.transpose(2, 0, 1))
