"""One image from a file; `test_folder.py` holds what decoding itself must do."""

import numpy as np
import pytest

from nn.data import load_image, load_image_folder
from nn.data.images import decode

Image = pytest.importorskip("PIL.Image", reason="needs Pillow, the extra 'images'")


@pytest.mark.parametrize(("mode", "fit"), [("RGB", "crop"), ("L", "pad"), ("RGB", "stretch")])
def test_a_image_is_what_it_is_in_a_folder(tmp_path, mode, fit):
    rng = np.random.default_rng(0)
    files = {
        "cat/wide.png": Image.fromarray(rng.integers(0, 256, (20, 31, 4), np.uint8), "RGBA"),
        "dog/high.jpg": Image.fromarray(rng.integers(0, 256, (40, 17, 3), np.uint8)),
    }
    for name, image in files.items():
        path = tmp_path / name
        path.parent.mkdir()
        image.save(path)
    folder = load_image_folder(tmp_path, (12, 10), mode, fit, cache=False, progress=False)
    for name, expected in zip(files, folder.x, strict=True):
        got = load_image(tmp_path / name, (12, 10), mode, fit)
        assert got.dtype == np.uint8
        np.testing.assert_array_equal(got, expected)


def test_what_is_no_image_is_named(tmp_path):
    text = tmp_path / "note.txt"
    text.write_text("no image")
    with pytest.raises(ValueError, match=r"\[load_image\] cannot decode '.*note.txt': in none of"):
        load_image(text)
    with pytest.raises(FileNotFoundError, match=r"'.*gone.png': there is no file"):
        load_image(tmp_path / "gone.png")
    with pytest.raises(ValueError, match=r"cannot decode '.*': it is a folder"):
        load_image(tmp_path)
    with pytest.raises(ValueError, match="'size' must be"):
        load_image(text, size=0)
    with pytest.raises(ValueError, match="'mode' must be one of 'L', 'RGB', got 'CMYK'"):
        load_image(text, mode="CMYK")


def test_heic_is_read_with_pillow_heif(tmp_path):
    heif = pytest.importorskip("pillow_heif", reason="needs pillow-heif")
    heif.register_heif_opener()
    Image.new("RGB", (64, 48), (200, 30, 30)).save(tmp_path / "photo.heic", quality=95)
    image = load_image(tmp_path / "photo.heic", size=8)
    np.testing.assert_allclose(image.mean(axis=(1, 2)), [200, 30, 30], atol=6)


def test_heic_without_pillow_heif_says_what_is_missing(tmp_path, monkeypatch):
    monkeypatch.setattr(decode, "formats", lambda: decode._FORMATS)
    (tmp_path / "photo.heic").write_bytes(b"\0\0\0\x18ftypheic" + bytes(40))
    with pytest.raises(ValueError, match="HEIC files need pillow-heif: python -m pip install"):
        load_image(tmp_path / "photo.heic")
