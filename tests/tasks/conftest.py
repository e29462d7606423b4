"""The `debug` network of the engine's tests, for tasks."""

from __future__ import annotations

from tests.engine.conftest import checkpoint, config, ct_study, model, tokenizer

__all__ = ["checkpoint", "config", "ct_study", "model", "tokenizer"]
