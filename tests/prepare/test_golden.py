"""The same pixels and token ids as the published processor, to the bit.

The cases run against ``transformers`` where it is installed, and against
stored digests of its output everywhere.
"""

from __future__ import annotations

import datetime as dt
import hashlib
import json
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image as PillowImage

from osler.prepare import ModelInputs, prepare_inputs
from osler.study import Study, TimePoint

GOLDEN = Path(__file__).parents[1] / "golden" / "prepare.json"
INSTRUCTION = "Please review the slices provided below carefully."
WINDOWS = ((-1024, 1024), (-135, 215), (0, 80))


@dataclass(frozen=True)
class Case:
    """A study for Osler, and the same as pictures and messages for the reference."""

    study: Study
    question: str
    pictures: list[PillowImage.Image]
    content: list[str]
    system: str = ""


def notebook_window(volume: np.ndarray) -> list[PillowImage.Image]:
    """The CT notebook's arithmetic, written again for the reference side."""
    pictures = []
    for values in volume:
        channels = []
        for low, high in WINDOWS:
            x = np.clip(values, low, high).astype(np.float32)
            x -= low
            x /= high - low
            x *= 255.0
            channels.append(x)
        pictures.append(PillowImage.fromarray(np.round(np.stack(channels, axis=-1), 0).astype(np.uint8)))
    return pictures


def min_max(volume: np.ndarray) -> list[PillowImage.Image]:
    low, high = int(volume.min()), int(volume.max())
    grey = np.round((volume.astype(np.float64) - low) / (high - low) * 255).astype(np.uint8)
    return [PillowImage.fromarray(values) for values in grey]


def slice_content(count: int, question: str) -> list[str]:
    content = [INSTRUCTION]
    for number in range(1, count + 1):
        content += ["<image>", f"SLICE {number}"]
    return [*content, question]


def build_cases(make) -> dict[str, Case]:
    xray, prior = make.xray_pixels(), make.xray_pixels(rows=200, columns=333, seed=5)
    color = np.stack([make.xray_pixels(seed=s) for s in (6, 7, 8)], axis=-1)
    ct, mr = make.ct_pixels(slices=3), make.mr_pixels(slices=5)
    long_ct = make.ct_pixels(slices=90, rows=12, columns=10)
    picks = [round(i / 85 * 89) for i in range(1, 86)]
    pairs = Study(
        timepoints=(
            TimePoint(series=(make.image(prior, series="a"),), date=dt.date(2020, 1, 1)),
            TimePoint(series=(make.image(xray, series="b"),), date=dt.date(2021, 1, 1)),
        )
    )
    picture = PillowImage.fromarray
    return {
        "one image": Case(
            study=make.study(make.image(xray)),
            question="  Is the heart large?\n",
            pictures=[picture(xray)],
            content=["<image>", "  Is the heart large?\n"],
        ),
        "system text": Case(
            study=make.study(make.image(color, modality="SM", units="RGB")),
            question="Describe the field.",
            pictures=[picture(color)],
            content=["<image>", "Describe the field."],
            system="SYSTEM INSTRUCTION: think silently if needed.",
        ),
        "adjacent images": Case(
            study=pairs,
            question="Compare the two.",
            pictures=[picture(prior), picture(xray)],
            content=["<image>", "<image>", "Compare the two."],
        ),
        "CT windows": Case(
            study=make.study(make.volume(ct)),
            question="\n\nIs this a good example?",
            pictures=notebook_window(ct),
            content=slice_content(3, "\n\nIs this a good example?"),
        ),
        "long CT": Case(
            study=make.study(make.volume(long_ct)),
            question="Is there a nodule?",
            pictures=notebook_window(long_ct[picks]),
            content=slice_content(85, "Is there a nodule?"),
        ),
        "MR": Case(
            study=make.study(make.volume(mr, modality="MR", units="arbitrary")),
            question="Which organ is it?",
            pictures=min_max(mr),
            content=slice_content(5, "Which organ is it?"),
        ),
    }


NAMES = ("one image", "system text", "adjacent images", "CT windows", "long CT", "MR")


@pytest.fixture(scope="module")
def cases(make) -> dict[str, Case]:
    return build_cases(make)


def osler_inputs(case: Case, *, preprocess, tokenizer, tokens) -> ModelInputs:
    return prepare_inputs(
        case.study, case.question, preprocess=preprocess, tokenizer=tokenizer, tokens=tokens, system=case.system
    )


def digest(array: np.ndarray) -> str:
    return hashlib.sha256(np.ascontiguousarray(array).tobytes()).hexdigest()


def contract_of(published, name: str):
    """Long cases are compared at a small size: the resizing is the same, and 85 large images need 1.6 GB twice."""
    return replace(published, image_size=112) if name in {"long CT", "MR"} else published


@pytest.mark.parametrize("name", NAMES)
def test_pixels_and_ids_match_the_stored_digests(name, cases, published, tokenizer, tokens):
    inputs = osler_inputs(cases[name], preprocess=contract_of(published, name), tokenizer=tokenizer, tokens=tokens)
    stored = json.loads(GOLDEN.read_text())[name]
    assert inputs.pixels.shape == tuple(stored["pixels_shape"])
    assert digest(inputs.pixels.array().astype("<f4")) == stored["pixels_sha256"]
    assert len(inputs.token_ids) == stored["tokens"]
    assert digest(inputs.token_ids.astype("<i8")) == stored["token_ids_sha256"]


def reference_outputs(case: Case, *, preprocess, tokenizer, chat_template):
    transformers = pytest.importorskip("transformers")
    pil = pytest.importorskip("transformers.models.gemma3.image_processing_pil_gemma3")
    fast = transformers.PreTrainedTokenizerFast(
        tokenizer_object=tokenizer.backend,
        bos_token="<bos>",
        eos_token="<eos>",
        pad_token="<pad>",
        unk_token="<unk>",
        extra_special_tokens={
            "boi_token": "<start_of_image>",
            "eoi_token": "<end_of_image>",
            "image_token": "<image_soft_token>",
        },
    )
    processor = transformers.Gemma3Processor(
        image_processor=pil.Gemma3ImageProcessorPil(
            size={"height": preprocess.image_size, "width": preprocess.image_size},
            image_mean=[0.5, 0.5, 0.5],
            image_std=[0.5, 0.5, 0.5],
        ),
        tokenizer=fast,
        chat_template=chat_template,
        image_seq_length=preprocess.image_tokens,
    )
    content = [{"type": "image"} if text == "<image>" else {"type": "text", "text": text} for text in case.content]
    messages = [{"role": "user", "content": content}]
    if case.system:
        messages.insert(0, {"role": "system", "content": [{"type": "text", "text": case.system}]})
    text = processor.apply_chat_template(messages, add_generation_prompt=True, tokenize=False)
    return processor(text=text, images=[case.pictures], return_tensors="np", add_special_tokens=False)


@pytest.mark.parametrize("name", NAMES)
def test_pixels_and_ids_are_the_reference_processors(name, cases, published, tokenizer, tokens, chat_template):
    preprocess = contract_of(published, name)
    reference = reference_outputs(cases[name], preprocess=preprocess, tokenizer=tokenizer, chat_template=chat_template)
    inputs = osler_inputs(cases[name], preprocess=preprocess, tokenizer=tokenizer, tokens=tokens)
    np.testing.assert_array_equal(inputs.token_ids, reference["input_ids"][0])
    assert reference["pixel_values"].dtype == np.float32
    np.testing.assert_array_equal(inputs.pixels.array(), reference["pixel_values"])
    np.testing.assert_array_equal(inputs.token_ids == tokens.image, reference["token_type_ids"][0] == 1)
