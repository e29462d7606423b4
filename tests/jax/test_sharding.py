"""The network on eight devices, in a process of its own: the same tokens as on one."""

from __future__ import annotations

import json
import os
import subprocess
import sys

import pytest

pytest.importorskip("jax", reason="jax is not installed: pip install 'osler[jax]'")

from osler.errors import RequestError
from osler.jax.sharding import make_mesh

PROGRAM = """
import json
import sys
import jax
import torch
from osler.jax.network import packed_products
from osler.jax.runner import JaxCache, JaxRunner
from osler.jax.sharding import make_mesh
from osler.model.config import get_config
from osler.model.osler import Osler
from osler.quant.network import part_names, product_tensors
from osler.quant.formats import parse_format
from osler.quant.packed import quantize

config = get_config("debug")
torch.manual_seed(4)
state = Osler(config).state_dict()
for name, tensor in state.items():
    torch.nn.init.normal_(tensor, std=0.3 if tensor.ndim > 1 else 0.1)
taken = product_tensors(config)

def parts(name):
    whole = torch.cat([state[part] for part in part_names(name)])
    return [quantize(whole, form=parse_format("int4-g32-asym"))]

def runner(kind, mesh):
    if kind == "float":
        return JaxRunner(state, config=config, longest=64, mesh=mesh)
    rest = {name: tensor for name, tensor in state.items() if name not in taken}
    products = packed_products(config, parts=parts, kernels=None)
    return JaxRunner(rest, config=config, products=products, longest=64, mesh=mesh)

def tokens(one):
    caches, last = [], []
    for words in (3, 9):
        caches.append(one.new_cache(planned=60))
        ids = torch.tensor([[2, *range(10, 10 + words)]])
        last.append(one.read(ids, features_NTD=None, cache=caches[-1]))
    both, logits, found = JaxCache.stack(caches, planned=60), torch.cat(last), []
    for _ in range(12):
        found.append(logits[:, :490].argmax(-1))
        logits = one.step(found[-1], cache=both)
    return torch.stack(found).tolist()

def shares(one):
    table = jax.tree.leaves(one.weights["language_model"]["embed_tokens"])[0]
    return [len(jax.devices()), table.nbytes // table.addressable_shards[0].data.nbytes]

results = {}
for kind in ("float", "packed"):
    for mesh in (None, (2, 4)):
        one = runner(kind, None if mesh is None else make_mesh(data=mesh[0], tensor=mesh[1]))
        results[f"{kind} {mesh}"] = [tokens(one), shares(one)]
        print(kind, mesh, results[f"{kind} {mesh}"], file=sys.stderr, flush=True)
print(json.dumps(results))
"""


def test_eight_devices_give_the_tokens_of_one() -> None:
    flags = f"{os.environ.get('XLA_FLAGS', '')} --xla_force_host_platform_device_count=8".strip()
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM],
        env=os.environ | {"XLA_FLAGS": flags, "JAX_PLATFORMS": "cpu"},
        capture_output=True,
        text=True,
        timeout=1800,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    found = json.loads(done.stdout.splitlines()[-1])
    for kind in ("float", "packed"):
        alone, (devices, whole) = found[f"{kind} None"]
        assert (devices, whole) == (8, 1)
        assert len({tuple(step) for step in alone}) > 1
        tokens, (_, parts) = found[f"{kind} (2, 4)"]
        assert tokens == alone, kind
        # Each device holds its share of the table, and no more.
        assert parts == 4


def test_more_devices_than_there_are_is_an_error() -> None:
    with pytest.raises(RequestError, match=r"2000 x 1 devices was asked for, and JAX sees \d+"):
        make_mesh(data=2000, tensor=1)
