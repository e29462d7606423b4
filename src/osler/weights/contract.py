"""The preprocessing contract of a model, without its weights: what `osler inspect` draws by."""

from __future__ import annotations

from pathlib import Path

from osler.errors import CheckpointError
from osler.model.config import config_names, get_config
from osler.prepare import Preprocess, preprocess_for
from osler.weights.catalog import EMBEDDED_NAME, find_model

CONTRACT_FILE = "preprocess.json"


def contract_of(name: str) -> Preprocess:
    """Returns the contract under which a model is shown images.

    A known model whose weights are not here has the contract of its configuration.

    Args:
        name: A name in the catalog, a folder or a GGUF file.

    Raises:
        RequestError: If the name is unknown.
        CheckpointError: If the model's files cannot be read.
    """
    try:
        place = find_model(name)
    except CheckpointError:
        if name not in config_names():
            raise
        return preprocess_for(get_config(name))
    if name == EMBEDDED_NAME or place.is_file():
        return Preprocess(image_size=0, image_tokens=0)
    if (place / CONTRACT_FILE).is_file():
        return read_contract(place)
    if name in config_names() and not (place / "config.json").is_file():
        return preprocess_for(get_config(name))
    from osler.weights.huggingface import folder_contract  # torch comes with it

    return folder_contract(place)


def read_contract(folder: Path) -> Preprocess:
    """Reads the contract of one of Osler's folders.

    Raises:
        CheckpointError: If it is absent or damaged.
    """
    path = folder / CONTRACT_FILE
    try:
        return Preprocess.from_json(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError) as error:
        raise CheckpointError(
            f"Cannot read {str(path)!r}: {error}.", next_step="Copy it from where the weights came from."
        ) from error
