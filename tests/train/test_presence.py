"""A presence score learns when a label is not there; boxes do not change."""

from __future__ import annotations

from dataclasses import replace

import torch

from osler.model.config import HeadsConfig, get_config
from osler.model.heads import Heads, patch_positions
from osler.model.osler import Osler
from osler.train.presence import fit_presence, presence_states


def test_only_the_presence_score_learns() -> None:
    from osler.prepare import preprocess_for

    torch.manual_seed(3)
    config = replace(get_config("debug"), heads=HeadsConfig(findings=("a",), trunk=1))
    model = Osler(config).eval()
    heads = model.heads
    assert isinstance(heads, Heads)
    assert model.vision is not None
    rng = torch.Generator().manual_seed(1)
    bright = torch.randint(150, 255, (24, 32, 32, 3), generator=rng).byte()
    dark = torch.randint(0, 100, (24, 32, 32, 3), generator=rng).byte()
    pixels = torch.cat((bright, dark)).numpy()
    there = torch.arange(48) < 24
    text = torch.randn(2, config.decoder.width, generator=rng)
    before = {name: value.clone() for name, value in heads.state_dict().items()}
    states = presence_states(
        heads, tower=model.vision, pixels_NSS3=pixels, text_QC=text, preprocess=preprocess_for(config)
    )
    learn = torch.arange(48) % 2 == 0
    fit_presence(heads, states_NQV=states[learn], there_N=there[learn])
    scores = heads.boxes.presence(states[~learn])[..., 0].sigmoid()
    assert bool((scores[there[~learn]] > 0.5).all())
    assert bool((scores[~there[~learn]] < 0.5).all())
    changed = {name for name, value in heads.state_dict().items() if not torch.equal(value, before[name])}
    assert {name for name in changed if "nan" not in name} - {"findings.scale"} == {
        "boxes.presence.weight",
        "boxes.presence.bias",
    }
    places = patch_positions(model.vision.config.side)[None]
    assert heads.boxes(text[None], features_BMV=torch.randn(1, 64, 48), positions_BM3=places)[0].shape == (1, 2, 6)
