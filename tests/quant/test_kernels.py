"""Every path of the compiled kernels against float32, on odd shapes, and against each other."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

import pytest
import torch
import torch.nn.functional as F
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from osler.errors import RequestError
from osler.model.pack import gate
from osler.quant.build import Built
from osler.quant.formats import parse_format
from osler.quant.kernels import PATHS, VARIABLE, NativeKernels, TorchKernels, choose_kernels
from osler.quant.packed import FEW_ROWS, PackedWeight, dequantize, quantize
from tests.kernels import Choose, error, product

GROUPED = ["int4-g32", "int4-g64-asym", "int8-g32", "int8-g64-asym"]
CHANNEL = ["int4-channel", "int4-channel-asym", "int8-channel"]


def many_rows_error(path: str, name: str) -> float:
    """The most by which many rows may differ from int8 activations with one scale for 32 inputs."""
    fine = path == "amx-bf16" or (path == "amx" and name == "int8-g64-asym")
    if path == "amx-int8" or (path == "amx" and not fine) or (path == "avx512-vnni" and name.startswith("int4")):
        return 2e-2  # int8 with scales that more of the inputs and weights share
    return 8e-3 if fine else 2e-6


def emulated(weight: PackedWeight, x_MK: torch.Tensor) -> torch.Tensor:
    """What the integer paths compute, in float64: activations as int8 with one scale for 32 of them."""
    x_MGW = F.pad(x_MK.float(), (0, weight.padded - weight.columns)).unflatten(1, (-1, 32))
    most = x_MGW.abs().amax(-1, keepdim=True)
    codes = torch.where(most > 1e-30, x_MGW * (127.0 / most), 0.0).round()
    x_wide = (codes.double() * (most / 127.0).double()).flatten(1)[:, : weight.columns]
    return x_wide @ dequantize(weight).double().T


@pytest.mark.parametrize("path", PATHS)
@settings(max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    rows=st.integers(1, 70),
    units=st.integers(1, 9),
    odd=st.integers(0, 31),
    count=st.integers(1, 70),
    grouped=st.sampled_from(GROUPED),
    channel=st.sampled_from(CHANNEL),
    bfloat16=st.booleans(),
    threads=st.integers(1, 3),
    seed=st.integers(0, 999),
)
def test_products_on_odd_shapes(
    choose: Choose,
    path: str,
    rows: int,
    units: int,
    odd: int,
    count: int,
    grouped: str,
    channel: str,
    bfloat16: bool,
    threads: int,
    seed: int,
) -> None:
    kernels = choose(path)
    generator = torch.Generator().manual_seed(seed)
    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        for name, columns in ((grouped, units * 64), (channel, units * 32 - odd)):
            weight = quantize(torch.randn(rows, columns, generator=generator) * 0.02, form=parse_format(name))
            x = torch.randn(count, columns, generator=generator).to(torch.bfloat16 if bfloat16 else torch.float32)
            found = product(kernels, weight, x)
            assert found.shape == (count, rows)
            # int8 activations lose half a percent, bfloat16 tiles a quarter, a bfloat16 result as much again. Single
            # outputs near zero lose more of themselves, so that the bound is on the norm of the inputs and weights.
            bound = 0.015 * x.float().norm(dim=1, keepdim=True) * dequantize(weight).norm(dim=1)
            assert ((found - x.float() @ dequantize(weight).T).abs() <= bound + 1e-6).all()
    finally:
        torch.set_num_threads(before)


@pytest.mark.parametrize("path", PATHS)
@pytest.mark.parametrize("name", GROUPED + CHANNEL)
def test_integer_paths_compute_exactly_what_they_say(choose: Choose, path: str, name: str) -> None:
    # The same numbers in every run: one in a million lies so near to a half that the emulation rounds it the other way.
    generator = torch.Generator().manual_seed(0)
    weight = quantize(torch.randn(50, 192, generator=generator) * 0.02, form=parse_format(name))
    for count in (1, 2, 3, 5, 8, 9, 17):
        x = torch.randn(count, 192, generator=generator) * torch.logspace(-3, 3, 192)
        wanted = emulated(weight, x)
        assert (product(choose(path), weight, x) - wanted).abs().max() <= 3e-6 * wanted.abs().max()


@pytest.mark.parametrize("path", PATHS[1:])
@pytest.mark.parametrize("name", GROUPED)
def test_all_paths_give_the_same_answer(choose: Choose, path: str, name: str) -> None:
    weight = quantize(torch.randn(200, 512) * 0.02, form=parse_format(name))
    for count in (1, 6, 64):
        x = torch.randn(count, 512)
        wanted = product(choose("portable"), weight, x)
        most = many_rows_error(path, name) if count == 64 else 2e-6
        assert error(product(choose(path), weight, x), wanted) <= most


@pytest.mark.parametrize("path", PATHS)
def test_extreme_codes_do_not_overflow(choose: Choose, path: str) -> None:
    for name, sign in (("int8-g32", 1), ("int8-g32", -1), ("int4-g32", -1)):
        weight = quantize(torch.full((16, 10_240), float(sign)), form=parse_format(name))
        x = torch.full((40, 10_240), -3.0)
        torch.testing.assert_close(product(choose(path), weight, x), x @ dequantize(weight).T, rtol=1e-3, atol=0)


@pytest.mark.parametrize("path", ["avx512-vnni", "amx-bf16", "amx-int8"])
@pytest.mark.parametrize("name", ["int4-g32", "int4-channel-asym"])
@pytest.mark.parametrize(("columns", "number", "size"), [(1280, 4, 60), (1280, 20, 60), (1280, 2, 300), (5152, 12, 90)])
def test_large_inputs_do_not_take_the_steps_of_others(
    choose: Choose, path: str, name: str, columns: int, number: int, size: int
) -> None:
    generator = torch.Generator().manual_seed(number)
    weight = quantize(torch.randn(40, columns, generator=generator) * 0.02, form=parse_format(name))
    rest, large = torch.randn(48, columns, generator=generator), torch.zeros(48, columns)
    places = torch.randperm(columns, generator=generator)[:number]
    rest[:, places] = 0
    large[:, places] = torch.randint(0, 2, (48, number), generator=generator) * 2.0 * size - size
    # With the steps of the large inputs, most of the others would be rounded to nothing.
    found = product(choose(path), weight, rest + large) - product(choose(path), weight, large)
    assert error(found, rest @ dequantize(weight).T) < 0.04


@pytest.mark.parametrize("path", PATHS)
@pytest.mark.parametrize("name", ["int4-g32-asym", "int8-g32"])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_a_gated_product_is_the_product_gated(choose: Choose, path: str, name: str, dtype: torch.dtype) -> None:
    kernels = choose(path)
    # Halves of whole blocks, and halves that meet inside a block; few rows and many.
    for outputs in (96, 1120, 34):
        weight = kernels.prepare(quantize(torch.randn(outputs, 320) * 0.1, form=parse_format(name)))
        for count in (1, 5, 70):
            x = torch.randn(count, 320).to(dtype)
            wanted = gate(kernels.linear(x, weight))
            found = kernels.gated(x, weight)
            assert found.shape == (count, outputs // 2)
            assert error(found.float(), wanted.float()) < (1e-5 if dtype == torch.float32 else 2e-3)


@pytest.mark.parametrize("path", ["avx512-vnni", "amx", "amx-int8", "amx-bf16"])
@pytest.mark.parametrize("name", ["int4-g32-asym", "int8-g32"])
@pytest.mark.parametrize("outputs", [128, 192, 256, 2048])
@pytest.mark.parametrize("threads", [1, 2])
def test_rows_of_whole_lines(choose: Choose, path: str, name: str, outputs: int, threads: int) -> None:
    kernels, before = choose(path), torch.get_num_threads()
    generator = torch.Generator().manual_seed(outputs)
    # One span of inputs and several; rows that end inside a square, and more than are multiplied at a time. In bfloat16
    # each row of the result is whole cache lines, also of the gated one, which are written past the cache.
    for columns, count in ((64, 33), (64, 70), *([(2592, 40), (64, 545)] if outputs == 128 else [])):
        matrix = torch.randn(outputs, columns, generator=generator) * 0.1
        weight = kernels.prepare(quantize(matrix, form=parse_format(name)))
        x = torch.randn(count, columns, generator=generator).bfloat16()
        torch.set_num_threads(threads)
        try:
            plain, gated, exact = kernels.linear(x, weight), kernels.gated(x, weight), kernels.linear(x.float(), weight)
        finally:
            torch.set_num_threads(before)
        assert plain.data_ptr() % 64 == gated.data_ptr() % 64 == 0
        assert torch.equal(plain, exact.bfloat16())
        wanted = gate(plain).float()
        assert bool(((gated.float() - wanted).norm(dim=1) < 2e-3 * wanted.norm(dim=1)).all())


@pytest.mark.parametrize("path", ["avx512-vnni", "amx", "amx-int8"])
@pytest.mark.parametrize("columns", [2560, 2592, 5184])
def test_many_rows_of_several_spans(choose: Choose, path: str, columns: int) -> None:
    # One span of 40 tiles; two, the last of them half a tile; three. More rows than are multiplied at a time.
    weight = quantize(torch.randn(80, columns) * 0.02, form=parse_format("int4-g32"))
    x = torch.randn(545, columns)
    assert error(product(choose(path), weight, x), x @ dequantize(weight).T) < 0.02


@pytest.mark.parametrize("path", PATHS)
def test_zeros_and_tiny_activations(choose: Choose, path: str) -> None:
    weight = quantize(torch.randn(16, 64), form=parse_format("int4-g32"))
    assert product(choose(path), weight, torch.zeros(3, 64)).abs().max() == 0
    tiny = product(choose(path), weight, torch.full((3, 64), 1e-38))
    assert bool(tiny.isfinite().all())


@pytest.mark.parametrize("path", PATHS)
@pytest.mark.parametrize("name", ["int8-g32", "int4-g32"])
@pytest.mark.parametrize("columns", [64, 640])
@pytest.mark.parametrize("bad", ["nan", "inf"])
def test_one_bad_row_stays_alone(choose: Choose, path: str, name: str, columns: int, bad: str) -> None:
    weight = quantize(torch.randn(32, columns), form=parse_format(name))
    x = torch.randn(40, columns)
    x[:, 5] *= 40  # where rows are many, an input with several places
    x[7] = 0.0  # as a row that is not finite does, this one says nothing about how large inputs are
    wanted = product(choose(path), weight, x)
    x[7, 5] = float(bad)
    found = product(choose(path), weight, x)
    assert not bool(found[7].isfinite().any())
    rest = torch.arange(40) != 7
    assert torch.equal(found[rest], wanted[rest])


@pytest.mark.parametrize("name", ["int8-g32", "int8-g64-asym", "int8-g128", "int8-channel"])
@pytest.mark.parametrize(("rows", "columns", "count"), [(16, 128, 45), (70, 896, 33), (48, 1664, 40), (33, 128, 530)])
def test_many_rows_by_vectors_have_the_bits_of_few(
    choose: Choose, name: str, rows: int, columns: int, count: int
) -> None:
    weight = quantize(torch.randn(rows, columns), form=parse_format(name))
    kernels = choose("avx512-vnni")
    for dtype in (torch.float32, torch.bfloat16):
        x = torch.randn(count, columns).to(dtype)
        x[3] *= 1e-33
        together = product(kernels, weight, x)
        for first in [*range(0, 45, 5), count - 7]:
            assert torch.equal(together[first : first + 5], product(kernels, weight, x[first : first + 5]))


@pytest.mark.parametrize("path", PATHS)
@pytest.mark.parametrize("name", ["int8-g32", "int8-channel-asym", "int4-g32"])
@pytest.mark.parametrize("activation", ["none", "gelu"])
@pytest.mark.parametrize("count", [5, 40])
def test_bias_and_activation_follow_the_product(
    choose: Choose, path: str, name: str, activation: Literal["none", "gelu"], count: int
) -> None:
    weight, kernels = quantize(torch.randn(37, 96), form=parse_format(name)), choose(path)
    assert isinstance(kernels, NativeKernels)
    for dtype in (torch.bfloat16, torch.float32):
        x, bias = torch.randn(count, 96).to(dtype), torch.randn(37).to(dtype) * 20
        for added in (None, bias):
            got = kernels.biased(x, kernels.prepare(weight), bias_N=added, activation=activation)
            wanted = F.linear(x.float(), dequantize(weight), None if added is None else added.float())
            if activation == "gelu":
                wanted = F.gelu(wanted, approximate="tanh")
            assert got.dtype == dtype
            assert float((got.float() - wanted).norm() / wanted.norm()) < 0.02


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_bias_and_activation_are_part_of_a_product_by_vectors(
    choose: Choose, dtype: torch.dtype, monkeypatch: pytest.MonkeyPatch
) -> None:
    kernels = choose("avx512-vnni")
    assert isinstance(kernels, NativeKernels)
    weight = quantize(torch.randn(70, 96), form=parse_format("int8-g32"))
    x, bias = torch.randn(FEW_ROWS + 30, 96).to(dtype), torch.randn(140).to(dtype)[::2]  # not side by side
    sums = product(kernels, weight, x.float())
    monkeypatch.setattr(NativeKernels, "linear", None)
    got = kernels.biased(x, kernels.prepare(weight), bias_N=bias, activation="none")
    assert torch.equal(got, (sums + bias.float()).to(dtype))


@pytest.mark.parametrize("path", ["portable", "amx"])
@pytest.mark.parametrize("name", GROUPED + CHANNEL)
def test_rows_are_looked_up(choose: Choose, path: str, name: str) -> None:
    weight = quantize(torch.randn(37, 64), form=parse_format(name))
    kernels, ids = choose(path), torch.tensor([36, 0, 17, 17])
    found = kernels.take_rows(kernels.prepare(weight), ids, dtype=torch.float32)
    torch.testing.assert_close(found, dequantize(weight)[ids])
    rounded = kernels.take_rows(kernels.prepare(weight), ids, dtype=torch.bfloat16)
    assert torch.equal(rounded, found.bfloat16())


@pytest.mark.parametrize("path", PATHS)
def test_infinity_is_not_lost(choose: Choose, path: str) -> None:
    weight = quantize(torch.randn(32, 64), form=parse_format("int8-g32"))
    x = torch.randn(2, 64)
    x[1, 40] = float("inf")
    found = product(choose(path), weight, x)
    assert bool(found[0].isfinite().all())
    assert not bool(found[1].isfinite().any())


def test_ids_past_the_table_are_refused(choose: Choose) -> None:
    weight = quantize(torch.randn(37, 64), form=parse_format("int4-g32"))
    for kernels in (choose("portable"), TorchKernels()):
        for wrong in (-99, 37, 1 << 40):
            with pytest.raises(IndexError):
                kernels.take_rows(kernels.prepare(weight), torch.tensor([0, wrong]), dtype=torch.float32)


def test_no_rows_give_no_rows(choose: Choose) -> None:
    weight = quantize(torch.randn(37, 64), form=parse_format("int4-g32"))
    assert product(choose("portable"), weight, torch.empty(0, 64)).shape == (0, 37)


def test_without_a_library_torch_computes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(VARIABLE, raising=False)
    chosen = choose_kernels(library=tmp_path / "none.so")
    assert isinstance(chosen.kernels, TorchKernels)
    assert "osler build-kernels" in chosen.reason
    with pytest.raises(RequestError, match=r"'avx2' were asked for, but the kernels are not built"):
        choose_kernels("avx2", library=tmp_path / "none.so")


def test_a_damaged_library_is_not_used(tmp_path: Path) -> None:
    (tmp_path / "bad.so").write_bytes(b"not a library")
    chosen = choose_kernels("auto", library=tmp_path / "bad.so")
    assert isinstance(chosen.kernels, TorchKernels)
    assert "cannot be loaded" in chosen.reason


def test_a_library_that_others_can_change_is_not_used(built: Built, tmp_path: Path) -> None:
    place = tmp_path / "open.so"
    place.write_bytes(built.path.read_bytes())
    place.chmod(0o666)
    chosen = choose_kernels("auto", library=place)
    assert isinstance(chosen.kernels, TorchKernels)
    assert "changed by another user" in chosen.reason


def test_the_variable_forces_a_path(built: Built, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(VARIABLE, "portable")
    assert choose_kernels(library=built.path).kernels.name == "portable"
    monkeypatch.setenv(VARIABLE, "torch")
    assert choose_kernels(library=built.path).kernels.name == "torch"
    monkeypatch.setenv(VARIABLE, "avx1024")
    with pytest.raises(RequestError, match=r"Unknown kernels 'avx1024'"):
        choose_kernels(library=built.path)


def test_the_fastest_path_is_taken_with_its_reason(built: Built) -> None:
    chosen = choose_kernels("auto", library=built.path)
    assert isinstance(chosen.kernels, NativeKernels)
    assert "fastest that this processor" in chosen.reason


@pytest.mark.parametrize("path", [*PATHS, "torch"])
@settings(max_examples=15, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    rows=st.integers(1, 70),
    units=st.integers(1, 6),
    odd=st.integers(0, 31),
    count=st.integers(2, FEW_ROWS),
    grouped=st.sampled_from(["int4-g32", "int4-g32-asym", "int8-g32"]),
    channel=st.sampled_from(CHANNEL),
    bfloat16=st.booleans(),
    seed=st.integers(0, 999),
)
def test_a_few_rows_do_not_depend_on_each_other(
    choose: Choose,
    path: str,
    rows: int,
    units: int,
    odd: int,
    count: int,
    grouped: str,
    channel: str,
    bfloat16: bool,
    seed: int,
) -> None:
    generator, columns = torch.Generator().manual_seed(seed), 32 * units + odd
    weight = quantize(torch.randn(rows, columns, generator=generator), form=parse_format(channel if odd else grouped))
    x_MK = torch.randn(count, columns, generator=generator) * torch.rand(count, 1, generator=generator) * 9
    x_MK = x_MK.bfloat16() if bfloat16 else x_MK
    kernels = choose(path)
    together = product(kernels, weight, x_MK)
    assert torch.equal(together, torch.cat([product(kernels, weight, x_1K) for x_1K in x_MK.split(1)]))
    assert torch.equal(together[1:], product(kernels, weight, x_MK[1:]))
