"""The variants that exist, and the sizes that they imply."""

from __future__ import annotations

import subprocess
import sys

import pytest
import torch

from osler.errors import RequestError
from osler.model.config import config_names, get_config
from osler.model.osler import Osler


@pytest.mark.parametrize(
    ("name", "decoder", "total"),
    [
        ("medgemma-1.5-4b", 3_880_263_168, 4_300_079_472),
        ("osler-mini", 268_098_176, 280_961_536),
        ("gemma-2-2b", 2_614_341_888, 2_614_341_888),
    ],
)
def test_parameters_add_up(name: str, decoder: int, total: int) -> None:
    with torch.device("meta"):
        model = Osler(get_config(name))
    assert sum(p.numel() for p in model.decoder.parameters()) == decoder
    assert sum(p.numel() for p in model.parameters()) == total


def test_parts_of_the_4b_add_up() -> None:
    with torch.device("meta"):
        model = Osler(get_config("medgemma-1.5-4b"))
    assert model.vision is not None
    assert model.projector is not None
    assert sum(p.numel() for p in model.vision.parameters()) == 416_866_032
    assert sum(p.numel() for p in model.projector.parameters()) == 2_950_272


def test_global_layers_of_the_4b() -> None:
    decoder = get_config("medgemma-1.5-4b").decoder
    assert [i for i in range(decoder.layers) if decoder.kind(i) == "global"] == [5, 11, 17, 23, 29]


def test_image_tokens_fill_the_pooled_grid() -> None:
    for name in config_names():
        config = get_config(name)
        if config.vision is not None:
            side = round(config.image_tokens**0.5)
            assert side**2 == config.image_tokens
            assert config.vision.side % side == 0


def test_unknown_name_suggests_the_nearest() -> None:
    with pytest.raises(RequestError, match="Did you mean 'osler-mini'"):
        get_config("osler-mni")


def test_configurations_do_not_import_torch() -> None:
    code = "import sys, osler.model.config; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
