"""Device and precision come with a reason, and float16 never comes."""

from __future__ import annotations

import pytest
import torch

from osler.engine.device import choose_device, choose_dtype, has_fast_bfloat16
from osler.errors import RequestError


def test_cpu_is_taken_when_asked_for() -> None:
    assert choose_device("cpu") == (torch.device("cpu"), "asked for")


@pytest.mark.skipif(torch.cuda.is_available(), reason="this machine has a GPU")
def test_without_a_gpu_auto_is_the_cpu_and_cuda_is_refused() -> None:
    assert choose_device("auto") == (torch.device("cpu"), "no GPU was found")
    with pytest.raises(RequestError, match=r"'cuda' was asked for.*Devices here: cpu.*--device cpu"):
        choose_device("cuda")


def test_an_unknown_device_names_the_nearest() -> None:
    with pytest.raises(RequestError, match=r"Unknown device 'cpuu'.*Did you mean 'cpu'"):
        choose_device("cpuu")


def test_the_precision_follows_the_cpu() -> None:
    value, reason = choose_dtype("auto", device=torch.device("cpu"))
    assert value == (torch.bfloat16 if has_fast_bfloat16() else torch.float32)
    assert "CPU" in reason


@pytest.mark.parametrize("name", ["float16", "fp16", "half"])
def test_float16_is_refused(name: str) -> None:
    with pytest.raises(RequestError, match=r"overflows in this network.*Use bfloat16"):
        choose_dtype(name, device=torch.device("cpu"))


def test_an_unknown_precision_names_the_nearest() -> None:
    with pytest.raises(RequestError, match=r"Unknown precision 'float3'.*Did you mean 'float32'"):
        choose_dtype("float3", device=torch.device("cpu"))
