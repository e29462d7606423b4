"""From a study and a question to what the network is fed, by one contract."""

from osler.prepare.chat import (
    ControlTokens,
    ImageSlot,
    RenderedChat,
    Tokenizer,
    Turn,
    chat_text,
    render_chat,
    thinking_system,
)
from osler.prepare.contract import Preprocess, VisualTokens, preprocess_for, require_same, with_visual_tokens
from osler.prepare.images import PreparedImages, prepare_images
from osler.prepare.inputs import MAX_QUESTION, ModelInputs, assemble, first_turn, prepare_inputs
from osler.prepare.pixels import PixelBatches, ShownImage, ShownTile
from osler.prepare.resize import PixelMap
from osler.prepare.sampling import pick_slices
from osler.prepare.volume_slabs import SlabbedVolume

__all__ = [
    "MAX_QUESTION",
    "ControlTokens",
    "ImageSlot",
    "ModelInputs",
    "PixelBatches",
    "PixelMap",
    "PreparedImages",
    "Preprocess",
    "RenderedChat",
    "ShownImage",
    "ShownTile",
    "SlabbedVolume",
    "Tokenizer",
    "Turn",
    "VisualTokens",
    "assemble",
    "chat_text",
    "first_turn",
    "pick_slices",
    "prepare_images",
    "prepare_inputs",
    "preprocess_for",
    "render_chat",
    "require_same",
    "thinking_system",
    "with_visual_tokens",
]
