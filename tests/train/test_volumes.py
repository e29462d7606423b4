"""Training volumes stand as the reader gives them, turned to the patient's axes, and are shown by the contract."""

from __future__ import annotations

from pathlib import Path

import nibabel
import numpy as np
import pytest

from osler.errors import DataError
from osler.prepare import Preprocess
from osler.prepare.windows import ct_to_rgb
from osler.study import Window
from osler.train.volumes import Span, TrainVolume, read_lps, section, show

WINDOWS = Preprocess(image_size=32, image_tokens=4).ct_windows


def _file(folder: Path, *, turn: str) -> Path:
    """A volume whose values tell their place, stored along other axes."""
    data = np.arange(4 * 5 * 6, dtype=np.int16).reshape(4, 5, 6)
    image = nibabel.Nifti1Image(data, np.diag([2.0, 3.0, 4.0, 1.0]))
    source = nibabel.orientations.io_orientation(image.affine)
    wanted = nibabel.orientations.axcodes2ornt(turn)
    path = folder / f"{turn}.nii.gz"
    nibabel.save(image.as_reoriented(nibabel.orientations.ornt_transform(source, wanted)), path)
    return path


@pytest.mark.parametrize("turn", ["RAS", "LPS", "SRA", "ILP"])
def test_any_stored_order_gives_the_same_volume(tmp_path: Path, turn: str) -> None:
    array, spacing = read_lps(_file(tmp_path, turn=turn))
    expected = np.arange(4 * 5 * 6).reshape(4, 5, 6)[::-1, ::-1, :].transpose(2, 1, 0)
    np.testing.assert_array_equal(array, expected)
    assert spacing == pytest.approx((4.0, 3.0, 2.0))


def test_a_picture_is_no_volume(tmp_path: Path) -> None:
    from PIL import Image

    path = tmp_path / "a.png"
    Image.new("L", (20, 20)).save(path)
    with pytest.raises(DataError, match="holds no volume"):
        read_lps(path)


def _volume() -> TrainVolume:
    array = np.linspace(-1000, 1500, 6 * 7 * 8, dtype=np.float32).reshape(6, 7, 8)
    span = Span(first=0, last=5, region="chest")
    return TrainVolume(
        source="s", patient="p", array=array, spacing=(4, 2, 2), modality="ct", region="chest", spans=(span,)
    )


def test_ct_is_shown_as_the_contract_says_or_in_gray() -> None:
    cut = section(_volume(), plane="axial", index=3)
    shown = [show(cut, volume=_volume(), windows=WINDOWS, rng=np.random.default_rng(i)) for i in range(20)]
    contract = ct_to_rgb(cut, windows=WINDOWS)
    same = [np.array_equal(picture, contract) for picture in shown]
    assert 3 < sum(same) < 17
    gray = [p for p, is_same in zip(shown, same, strict=True) if not is_same]
    assert all((p[..., 0] == p[..., 1]).all() and (p[..., 0] == p[..., 2]).all() for p in gray)
    other = (Window(low=0, high=1), *WINDOWS[1:])
    assert not np.array_equal(ct_to_rgb(cut, windows=other), contract)


def test_reformats_have_the_head_on_top_and_square_pixels() -> None:
    volume = _volume()
    cut = section(volume, plane="coronal", index=2)
    assert cut.shape == (12, 8)
    assert cut[0].mean() > cut[-1].mean()
