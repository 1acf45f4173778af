"""Image folders: what becomes of each kind of image, and a cache that is never wrong."""

import json
import os
import sys
import warnings
from pathlib import Path

import numpy as np
import pytest

import nn
from nn.data import load_image_folder
from nn.data.images import cache as image_cache
from nn.data.images import source as image_source

Image = pytest.importorskip("PIL.Image", reason="needs Pillow, the extra 'images'")

ORIENTATION = 0x0112  # the EXIF tag


@pytest.fixture
def noise(rng):
    """Return a function that makes a random image (H, W, 3)."""
    return lambda height, width: rng.integers(0, 256, (height, width, 3), dtype=np.uint8)


@pytest.fixture
def folder(tmp_path):
    """A set of two classes, an image in each; tests add more to it."""
    for name, colour in ("cat", (200, 30, 10)), ("dog", (5, 100, 250)):
        save(tmp_path / "set" / name / "plain.png", np.full((6, 6, 3), colour, np.uint8))
    return tmp_path / "set"


@pytest.fixture
def opened(monkeypatch):
    """A list of the files that Pillow is asked to open, which grows as they are."""
    paths, true_open = [], Image.open

    def count(path, *arguments, **named):
        paths.append(Path(path).name)
        return true_open(path, *arguments, **named)

    monkeypatch.setattr(Image, "open", count)
    return paths


def save(path, image, **arguments):
    """Write an array or a Pillow image to a file; return the path."""
    path.parent.mkdir(parents=True, exist_ok=True)
    image = Image.fromarray(image) if isinstance(image, np.ndarray) else image
    image.save(path, **arguments)
    return path


def load(folder, size=6, **arguments):
    return load_image_folder(folder, size, **{"progress": False, "num_threads": 2, **arguments})


def loaded(folder, image, size, name="a.png", mode="RGB", fit="crop", **arguments):
    """Save an image as the first of the class 'cat' and return it (H, W, C) as it is loaded."""
    path = save(folder / "cat" / name, image, **arguments)
    x = load(folder, size, mode=mode, fit=fit, cache=False).x
    path.unlink()
    return x[0].transpose(1, 2, 0)


def scaled(x, height, width):
    """Scale (H, W, C) slowly: each new pixel is a mean, weighted by a triangle over the old."""

    def weights(old, new):
        matrix = np.zeros((new, old))
        reach = max(1.0, old / new)  # half the base of the triangle, in old pixels
        for i in range(new):
            centre = (i + 0.5) * old / new
            for k in range(old):
                matrix[i, k] = max(0.0, 1 - abs(k + 0.5 - centre) / reach)
            matrix[i] /= matrix[i].sum()
        return matrix

    rows, columns = weights(x.shape[0], height), weights(x.shape[1], width)
    return np.einsum("ihc,jh->ijc", np.einsum("ih,hwc->iwc", rows, x.astype(float)), columns)


def assert_close(got, expected, tolerance):
    assert got.shape == expected.shape
    assert np.abs(got.astype(float) - expected).max() <= tolerance


def cache_files(folder):
    return sorted(path.name for path in folder.iterdir() if path.name.startswith("."))


# ------------------------------------------------------------------------------- the listing


def test_classes_are_the_sub_folders_by_name_and_images_lie_at_any_depth(folder, noise):
    first, second = noise(6, 6), noise(6, 6)
    save(folder / "cat" / "2020" / "may" / "x.PNG", first)
    save(folder / "Zebra" / "z.bmp", second)
    for name in ("cat/.hidden.png", ".thumbnails/a.png", "cat/.old/b.png", "at_the_top.png"):
        save(folder / name, noise(6, 6))
    (folder / "dog" / "notes.txt").write_text("no image")
    dataset = load(folder)
    assert dataset.class_names == ("Zebra", "cat", "dog")
    assert dataset.y.tolist() == [0, 1, 1, 2]
    assert dataset.y.dtype == np.int64
    assert (dataset.x.dtype, dataset.x.shape) == (np.uint8, (4, 3, 6, 6))
    np.testing.assert_array_equal(dataset.x[0], second.transpose(2, 0, 1))
    np.testing.assert_array_equal(dataset.x[1], first.transpose(2, 0, 1))
    np.testing.assert_array_equal(dataset.x[2, :, 3, 4], [200, 30, 10])
    np.testing.assert_array_equal(dataset.x[3, :, 5, 0], [5, 100, 250])


def test_links_are_followed_but_not_in_circles(folder, tmp_path, noise):
    elsewhere = save(tmp_path / "elsewhere" / "a.png", noise(6, 6)).parent
    try:
        (folder / "cat" / "more").symlink_to(elsewhere)
        (elsewhere / "back").symlink_to(folder / "cat")
        (elsewhere / "up").symlink_to(tmp_path)
        (elsewhere / "itself").symlink_to(elsewhere)
        (folder / "emu").symlink_to(save(tmp_path / "birds" / "e.png", noise(6, 6)).parent)
    except OSError:
        pytest.skip("links need a permission here")
    assert load(folder, cache=False).y.tolist() == [0, 0, 1, 2]


@pytest.mark.parametrize("names", [[], ["cat"]])
def test_fewer_than_two_classes_are_an_error(tmp_path, names):
    for name in names:
        save(tmp_path / name / "a.png", np.zeros((4, 4, 3), np.uint8))
    got = "only 'cat'" if names else "no sub-folder"
    with pytest.raises(ValueError, match=rf"\[load_image_folder\] 'path' must .* with {got}\.$"):
        load(tmp_path)


def test_an_empty_class_is_an_error_that_names_it(folder):
    (folder / "emu").mkdir()
    (folder / "emu" / "notes.txt").touch()
    with pytest.raises(ValueError, match=r"each class must have images, got none in 'emu': "):
        load(folder)


def test_a_class_of_nothing_but_damage_is_an_error_and_leaves_no_cache(folder):
    (folder / "dog" / "plain.png").write_bytes(b"no image")
    message = r"that can be decoded, got none in 'dog'\. .*1 of 2.*dog/plain.png \(in none of"
    for _ in range(2):
        with pytest.raises(ValueError, match=message):
            load(folder)
    assert cache_files(folder) == []


def test_a_path_that_cannot_be_read_is_one_clear_error(folder, monkeypatch):
    with pytest.raises(FileNotFoundError, match=r"\[load_image_folder\] cannot read '.*nowhere'"):
        load(folder / "nowhere")
    with pytest.raises(NotADirectoryError, match=r"cannot read '.*plain\.png'"):
        load(folder / "cat" / "plain.png")

    true_scandir = os.scandir

    def scandir(path):
        if str(path).endswith("dog"):
            raise PermissionError(13, "Permission denied", str(path))
        return true_scandir(path)

    monkeypatch.setattr(os, "scandir", scandir)
    message = r"cannot read '.*dog' \(Permission denied\)"
    with pytest.raises(PermissionError, match=message):
        load(folder)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"size": 0}, "'size' must be positive, got 0"),
        ({"size": (4, 4, 4)}, "'size' must be an integer or a pair"),
        ({"mode": "RGBA"}, r"'mode' must be one of 'L', 'RGB', got 'RGBA': did you mean 'RGB'\?"),
        ({"fit": "croop"}, r"'fit' must be .* got 'croop': did you mean 'crop'\?"),
        ({"num_threads": -1}, "'num_threads' must be an integer of at least 0"),
        ({"cache": "folder"}, "'cache' must be True or False, got 'folder'"),
        ({"cache": False, "cache_dir": "x"}, "'cache_dir' needs cache=True, got 'x'"),
    ],
)
def test_arguments_are_checked(folder, arguments, message):
    with pytest.raises(ValueError, match=rf"\[load_image_folder\] {message}"):
        load(folder, **arguments)


# ----------------------------------------------------------------------------- the decoding


def test_modes_of_images_without_alpha(folder, noise):
    image = noise(6, 6)
    pillow = Image.fromarray(image)
    np.testing.assert_array_equal(loaded(folder, image, 6), image)
    luma = image @ np.array([0.299, 0.587, 0.114])  # ITU-R BT.601
    assert_close(loaded(folder, image, 6, mode="L"), luma[:, :, np.newaxis], 1)

    grey = loaded(folder, image[:, :, 0], 6)
    np.testing.assert_array_equal(grey, np.repeat(image[:, :, :1], 3, axis=2))
    one_bit = loaded(folder, Image.fromarray(image[:, :, 0] > 127), 6, mode="L")
    np.testing.assert_array_equal(one_bit[:, :, 0], np.where(image[:, :, 0] > 127, 255, 0))
    palette = pillow.quantize(16)
    colours = np.array(palette.getpalette()).reshape(-1, 3)[np.asarray(palette)]
    np.testing.assert_array_equal(loaded(folder, palette, 6), colours)


def test_transparency_is_laid_on_white(folder, noise, rng):
    image = noise(6, 6)
    alpha = rng.integers(0, 256, (6, 6, 1), dtype=np.uint8)
    share = alpha / 255
    on_white = image * share + 255 * (1 - share)
    assert_close(loaded(folder, np.concatenate([image, alpha], axis=2), 6), on_white, 1)

    grey_alpha = np.concatenate([image[:, :, :1], alpha], axis=2)
    assert_close(loaded(folder, grey_alpha, 6, mode="L"), on_white[:, :, :1], 1)
    assert_close(loaded(folder, grey_alpha, 6), np.repeat(on_white[:, :, :1], 3, axis=2), 1)

    palette = Image.fromarray(image).quantize(8)
    colours = np.array(palette.getpalette()).reshape(-1, 3)[np.asarray(palette)]
    share = np.array([0, 128, 255, 255, 255, 255, 255, 255])[np.asarray(palette)][..., None] / 255
    got = loaded(folder, palette, 6, transparency=bytes([0, 128]))
    assert_close(got, colours * share + 255 * (1 - share), 1)
    got = loaded(folder, palette, 6, name="a.gif", transparency=3)
    colours[np.asarray(palette) == 3] = 255
    np.testing.assert_array_equal(got, colours)

    key = image.copy()
    key[2:4] = (9, 8, 7)  # a colour that stands for nothing at all, in an image without alpha
    got = loaded(folder, key, 6, transparency=(9, 8, 7))
    key[2:4] = 255
    np.testing.assert_array_equal(got, key)


@pytest.mark.parametrize("name", ["a.png", "a.tiff", "a.pgm"])
def test_sixteen_bits_become_eight(folder, name):
    values = np.array([[0, 128, 129, 257], [32768, 65535, 65406, 1000]], np.uint16)
    got = loaded(folder, values, (2, 4), name=name, mode="L")[:, :, 0]
    np.testing.assert_array_equal(got, np.round(values / 257))


def test_values_of_32_bits_are_refused(folder):
    for kind in np.int32, np.float32:
        save(folder / "cat" / f"{kind.__name__}.tiff", np.ones((4, 4), kind))
    with pytest.warns(RuntimeWarning, match=r"2 of 4 .*cat/float32.tiff \(32-bit values"):
        load(folder)


def test_cmyk(folder, rng):
    cyan = rng.integers(0, 256, (1, 1, 4), dtype=np.uint8)
    image = Image.fromarray(np.repeat(np.repeat(cyan, 16, 0), 16, 1), mode=None)
    image = Image.frombytes("CMYK", (16, 16), image.tobytes())
    c, m, y, k = cyan[0, 0].astype(float)
    expected = np.array([(255 - ink) * (255 - k) / 255 for ink in (c, m, y)])
    got = loaded(folder, image, 4, name="a.jpg", quality=100, subsampling=0)
    assert_close(got, np.broadcast_to(expected, (4, 4, 3)), 4)
    luma = expected @ [0.299, 0.587, 0.114]
    got = loaded(folder, image, 4, name="a.jpg", mode="L", quality=100)
    assert_close(got, np.broadcast_to(luma, (4, 4, 1)), 4)


@pytest.mark.parametrize("name", ["a.png", "a.webp", "a.tiff", "a.jpg"])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_exif_orientation_sets_a_image_upright(folder, rng, name, orientation):
    stored = rng.integers(0, 256, (3, 5, 3)).repeat(16, axis=0).repeat(16, axis=1)
    stored = stored.astype(np.uint8)  # (48, 80, 3), of large squares that JPEG keeps
    # Where row 0 and column 0 of the stored image are in the upright one, by the standard.
    upright = {
        1: stored,  # top, left
        2: stored[:, ::-1],  # top, right
        3: stored[::-1, ::-1],  # bottom, right
        4: stored[::-1],  # bottom, left
        5: stored.swapaxes(0, 1),  # left, top
        6: stored.swapaxes(0, 1)[:, ::-1],  # right, top
        7: stored.swapaxes(0, 1)[::-1, ::-1],  # right, bottom
        8: stored.swapaxes(0, 1)[::-1],  # left, bottom
    }[orientation]
    exif = Image.Exif()
    exif[ORIENTATION] = orientation
    lossless = {"a.webp": {"lossless": True}, "a.jpg": {"quality": 100, "subsampling": 0}}
    arguments = {"exif": exif, **lossless.get(name, {})}
    got = loaded(folder, Image.fromarray(stored), upright.shape[:2], name=name, **arguments)
    assert_close(got, upright, 6 if name == "a.jpg" else 0)


def test_broken_exif_data_do_not_cost_the_image(folder, noise):
    image = noise(6, 6)
    got = loaded(folder, image, 6, exif=b"Exif\0\0nonsense")
    np.testing.assert_array_equal(got, image)


def test_the_first_frame_of_a_moving_image_is_taken(folder):
    frames = [Image.new("RGB", (6, 6), colour) for colour in ("red", "blue")]
    got = loaded(folder, frames[0], 6, name="a.gif", save_all=True, append_images=frames[1:])
    np.testing.assert_array_equal(got, np.asarray(frames[0]))


# ------------------------------------------------------------------------------- the scaling


@pytest.mark.parametrize("shape", [(40, 40), (37, 61), (5, 4), (3, 90)])
def test_stretch_is_a_weighted_mean_of_all_pixels(folder, noise, shape):
    image = noise(*shape)
    got = loaded(folder, image, (8, 12), fit="stretch")
    assert_close(got, scaled(image, 8, 12), 1)


def test_crop_scales_the_shorter_side_and_cuts_both_ends(folder, noise):
    wide, tall = noise(32, 72), noise(48, 16)
    got = loaded(folder, wide, (8, 12))
    assert_close(got, scaled(wide, 8, 18)[:, 3:15], 1)
    got = loaded(folder, tall, (8, 8))
    assert_close(got, scaled(tall, 24, 8)[8:16], 1)


def test_pad_leaves_black_borders(folder, noise):
    image = noise(20, 40)
    got = loaded(folder, image, 10, fit="pad")
    assert_close(got[2:7], scaled(image, 5, 10), 1)
    assert not got[:2].any()
    assert not got[7:].any()
    assert loaded(folder, image[:, :10], (6, 9), fit="pad").any(axis=(0, 2)).tolist() == (
        [False] * 3 + [True] * 3 + [False] * 3
    )


@pytest.mark.parametrize("fit", ["crop", "pad", "stretch"])
@pytest.mark.parametrize("shape", [(1, 3000), (3000, 1), (1, 1), (60, 29), (29, 60)])
def test_the_thinnest_images_are_scaled_too(folder, fit, shape):
    got = loaded(folder, np.full((*shape, 3), 77, np.uint8), (9, 7), fit=fit)
    assert (got == 77).any()
    assert fit == "pad" or (got == 77).all()


def test_a_thin_image_does_not_fill_the_memory_on_its_way(folder):
    resource = pytest.importorskip("resource")
    save(folder / "cat" / "thin.png", Image.new("L", (1_000_000, 1)))
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss  # KiB, on macOS bytes
    load(folder, 256, cache=False)  # scaled whole it would be 256,000,000 pixels wide
    grown = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before
    assert grown / (1024 if sys.platform == "darwin" else 1) < 200_000


@pytest.mark.parametrize("mode", ["RGB", "L"])
def test_a_large_jpeg_is_decoded_at_a_part_of_its_size(folder, rng, monkeypatch, mode):
    sizes = []
    monkeypatch.setattr(
        "nn.data.images.decode._without_alpha",
        lambda image: sizes.append(image.size) or image,
    )
    smooth = scaled(rng.integers(0, 256, (5, 7, 3)), 400, 640).astype(np.uint8)
    exif = Image.Exif()
    exif[ORIENTATION] = 6
    got = loaded(
        folder, Image.fromarray(smooth), (64, 32), name="a.jpg", mode=mode, quality=98, exif=exif
    )
    assert (160, 100) in sizes  # a quarter; on its side, it is not below twice (64, 32)
    upright = smooth.swapaxes(0, 1)[:, ::-1]  # (640, 400, 3)
    expected = scaled(upright, 64, 40)[:, 4:36]
    expected = expected if mode == "RGB" else expected @ np.array([[0.299], [0.587], [0.114]])
    assert_close(got, expected, 4)


def test_the_number_of_threads_changes_nothing(folder, noise):
    for k in range(12):
        save(folder / "dog" / f"{k}.jpg", noise(40 + k, 30))
    expected = load(folder, num_threads=0, cache=False)
    for threads in (1, 5, None):
        got = load(folder, num_threads=threads, cache=False)
        np.testing.assert_array_equal(got.x, expected.x)


# ------------------------------------------------------------------------------------ damage


def make_damaged(folder, noise):
    """Add seven files that cannot be decoded, and return the reasons to expect for them."""
    whole = save(folder / "cat" / "whole.jpg", noise(64, 64)).read_bytes()
    (folder / "cat" / "cut.jpg").write_bytes(whole[: len(whole) // 2])
    (folder / "cat" / "empty.png").touch()
    (folder / "dog" / "text.jpg").write_text("this is no image")
    save(folder / "cat" / "program.eps", noise(6, 6)).rename(folder / "cat" / "program.png")
    png = save(folder / "dog" / "flipped.png", noise(64, 64))
    data = bytearray(png.read_bytes())
    start = data.index(b"IDAT") + 4
    data[start : start + 2] = b"\xff\xff"  # where the compressed data begin
    png.write_bytes(data)
    reasons = {
        "cat/cut.jpg": "image file is truncated",
        "cat/empty.png": "the file is empty",
        "cat/program.png": "in none of the known formats",
        "dog/flipped.png": "broken data stream",
        "dog/text.jpg": "in none of the known formats",
    }
    if hasattr(os, "mkfifo"):
        os.mkfifo(folder / "cat" / "a_pipe.jpg")
        reasons["cat/a_pipe.jpg"] = "there is no file"
        for name, target in ("link.jpg", "nowhere"), ("self.jpg", "self.jpg"):
            (folder / "dog" / name).symlink_to(target)
            reasons[f"dog/{name}"] = "there is no file"
    return reasons


@pytest.mark.parametrize("cache", [False, True])
def test_damaged_images_are_left_out_with_one_warning(folder, noise, cache):
    expected = make_damaged(folder, noise)
    with pytest.warns(RuntimeWarning) as caught:
        dataset = load(folder, cache=cache)
    assert len(caught) == 1
    assert caught[0].filename == __file__
    text = str(caught[0].message)
    assert f"[load_image_folder] {len(expected)} of {len(expected) + 3} images in" in text
    for name, reason in sorted(expected.items())[:5]:
        assert f"{name} ({reason}" in text
    assert (f"and {len(expected) - 5} more" in text) == (len(expected) > 5)
    assert ("The cache omits them" in text) == cache
    assert dataset.y.tolist() == [0, 0, 1]
    np.testing.assert_array_equal(dataset.x[2, :, 0, 0], [5, 100, 250])


def test_damaged_images_are_reported_from_the_cache_too(folder, noise, opened):
    make_damaged(folder, noise)
    with pytest.warns(RuntimeWarning) as first:
        expected = load(folder)
    opened.clear()
    with pytest.warns(RuntimeWarning) as second:
        got = load(folder)
    assert not opened
    assert str(first[0].message) == str(second[0].message)
    np.testing.assert_array_equal(got.x, expected.x)
    np.testing.assert_array_equal(got.y, expected.y)


@pytest.mark.parametrize("limit", [100, 60])  # pixels; from twice the limit Pillow itself refuses
def test_bombs_are_refused_and_reported(folder, noise, monkeypatch, limit):
    save(folder / "dog" / "bomb.png", noise(11, 12))
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", limit)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")  # as users have it: nothing but our own warning appears
        assert len(load(folder)) == 2
    assert len(caught) == 1
    reason = "132 pixels, more than PIL.Image.MAX" if limit > 66 else "exceeds limit"
    assert "1 of 3 images" in str(caught[0].message)
    assert reason in str(caught[0].message)
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", None)
    assert len(load(folder, cache=False)) == 3


def test_a_lack_of_memory_is_no_fault_of_the_image(folder, monkeypatch):
    def no_memory(*_):
        raise MemoryError

    monkeypatch.setattr(image_source, "decode", no_memory)
    with pytest.raises(MemoryError):
        load(folder)
    assert cache_files(folder) == []


def test_without_pillow_the_error_says_what_to_install(folder, monkeypatch):
    load(folder)
    monkeypatch.setitem(sys.modules, "PIL", None)
    with pytest.raises(ImportError, match=r"\[load_image_folder\] needs Pillow .* pip install"):
        load(folder, size=5)
    assert len(load(folder)) == 2  # the cache needs none


def test_a_bar_is_shown_where_it_is_wanted(folder, capsys):
    load(folder, progress=True)
    assert "2/2" in capsys.readouterr().err
    load(folder, progress=True)  # nothing to decode
    load(folder, size=5, progress=False)
    assert capsys.readouterr().err == ""


# --------------------------------------------------------------------------------- the cache


def test_the_cache_is_used_without_decoding(folder, opened):
    first = load(folder)
    assert sorted(opened) == ["plain.png", "plain.png"]
    assert cache_files(folder) == [".nn-6x6-RGB-crop.json", ".nn-6x6-RGB-crop.npy"]
    second = load(folder)
    assert len(opened) == 2
    for dataset in (first, second):
        assert isinstance(dataset.x, np.memmap)
        assert not dataset.x.flags.writeable
    np.testing.assert_array_equal(first.x, second.x)
    np.testing.assert_array_equal(first.x, load(folder, cache=False).x)
    np.testing.assert_array_equal(np.load(folder / ".nn-6x6-RGB-crop.npy"), first.x)


def test_without_a_cache_nothing_is_written_or_mapped(folder):
    x = load(folder, cache=False).x
    assert not isinstance(x, np.memmap)
    assert cache_files(folder) == []


def touch(path):
    status = path.stat()
    os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns + 1000))


def append(path, data):
    """Change the size of a file, but not its time."""
    status = path.stat()
    path.write_bytes(path.read_bytes() + data)
    os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))


@pytest.mark.parametrize(
    "change",
    [
        lambda folder: save(folder / "cat" / "new.png", np.zeros((6, 6, 3), np.uint8)),
        lambda folder: save(folder / "emu" / "new.png", np.zeros((6, 6, 3), np.uint8)),
        lambda folder: (folder / "cat" / "plain.png").rename(folder / "cat" / "other.png"),
        lambda folder: (folder / "cat" / "gone.png").unlink(),
        lambda folder: touch(folder / "dog" / "plain.png"),
        lambda folder: append(folder / "dog" / "plain.png", b" "),
    ],
    ids=["added", "class", "renamed", "removed", "time", "size"],
)
def test_the_cache_is_made_anew_where_a_file_changes(folder, opened, change):
    save(folder / "cat" / "gone.png", np.full((6, 6, 3), 9, np.uint8))
    load(folder)
    change(folder)
    opened.clear()
    got = load(folder)
    assert len(opened) == len(got)
    np.testing.assert_array_equal(got.x, load(folder, cache=False).x)
    opened.clear()
    load(folder)
    assert not opened


def test_each_size_mode_and_fit_has_a_cache_of_its_own(folder, opened):
    forms = [{}, {"size": (6, 5)}, {"mode": "L"}, {"fit": "pad"}]
    for form in forms:
        load(folder, **form)
    assert len(opened) == 8
    for form in forms:
        x = load(folder, **form).x
        assert x.shape == (
            2,
            1 if form.get("mode") else 3,
            *np.broadcast_to(form.get("size", 6), 2),
        )
    assert len(opened) == 8


def test_a_new_version_of_the_code_makes_the_cache_anew(folder, opened, monkeypatch):
    load(folder)
    monkeypatch.setattr(image_cache, "_VERSION", 3)
    load(folder)
    assert len(opened) == 4


def test_a_cache_elsewhere_is_shared_by_several_sets(folder, tmp_path, opened):
    place = tmp_path / "new" / "caches"
    other = save(tmp_path / "b" / "set" / "cat" / "a.png", np.full((6, 6, 3), 1, np.uint8)).parents[
        1
    ]
    save(other / "dog" / "a.png", np.full((6, 6, 3), 2, np.uint8))
    first, second = load(folder, cache_dir=place), load(other, cache_dir=str(place))
    assert len(opened) == 4
    assert cache_files(folder) == cache_files(other) == []
    assert len(list(place.iterdir())) == 4
    np.testing.assert_array_equal(load(folder, cache_dir=place).x, first.x)
    np.testing.assert_array_equal(load(other, cache_dir=place).x, second.x)
    assert second.x[1, 0, 0, 0] == 2
    assert len(opened) == 4


def npy(array, **arguments):
    """Return a function that puts another array into the place of the cache."""

    def replace(folder):
        with (folder / ".nn-6x6-RGB-crop.npy").open("wb") as stream:
            np.save(stream, array, **arguments)

    return replace


def binary(change):
    def replace(folder):
        path = folder / ".nn-6x6-RGB-crop.npy"
        path.write_bytes(change(path.read_bytes()))

    return replace


def note(change):
    """Return a function that changes the dictionary in the JSON file."""

    def replace(folder):
        path = folder / ".nn-6x6-RGB-crop.json"
        content = json.loads(path.read_text())
        path.write_text(json.dumps(change(content)))

    return replace


class Mine:
    def __reduce__(self):
        return pytest.fail, ("the cache was unpickled",)


RIGHT = (2, 3, 6, 6)


@pytest.mark.parametrize(
    "damage",
    [
        npy(np.ones((1, 3, 6, 6), np.uint8)),
        npy(np.ones((2, 6, 6, 3), np.uint8)),
        npy(np.ones(RIGHT, np.int8)),
        npy(np.ones((2, 3, 6, 6), np.float32)),
        npy(np.asfortranarray(np.ones(RIGHT, np.uint8))),
        npy(np.array([Mine()] * 2, dtype=object), allow_pickle=True),
        binary(lambda data: data[:-1]),
        binary(lambda data: data + b"\0"),
        binary(lambda data: data[:-1] + bytes([data[-1] ^ 1])),
        binary(lambda data: data[:140] + bytes([data[140] ^ 128]) + data[141:]),
        binary(lambda data: b""),
        binary(lambda data: b"\x80\x04" + data),
        binary(lambda data: data.replace(b"\x93NUMPY\x01", b"\x93NUMPY\x09")),
        binary(lambda data: data.replace(b"(2, 3, 6, 6)", b"(2, 3, 2**9)")),
        binary(lambda data: data.replace(b"(2, ", b"(9999999999999999999, ")),
        note(lambda made: {**made, "left_out": {"cat/other.png": "?"}}),
        note(lambda made: {**made, "left_out": {"cat/plain.png": "?"}}),
        note(lambda made: {**made, "left_out": ["cat/plain.png"]}),
        note(lambda made: {**made, "left_out": None}),
        note(lambda made: {k: v for k, v in made.items() if k != "left_out"}),
        note(lambda made: {**made, "sha256": "0" * 64}),
        note(lambda made: {**made, "crc32": made["crc32"] ^ 1}),
        note(lambda made: {k: v for k, v in made.items() if k != "crc32"}),
        note(lambda made: {**made, "form": "6x6-RGB-pad"}),
        note(lambda made: [made]),
        lambda folder: (folder / ".nn-6x6-RGB-crop.json").write_text("[" * 100_000),
        lambda folder: (folder / ".nn-6x6-RGB-crop.json").write_bytes(b"\xff\xfe{"),
        lambda folder: (folder / ".nn-6x6-RGB-crop.json").unlink(),
        lambda folder: (folder / ".nn-6x6-RGB-crop.npy").unlink(),
    ],
)
def test_a_cache_that_is_not_what_it_should_be_is_made_anew(folder, opened, damage):
    expected = load(folder, cache=False)
    load(folder)
    damage(folder)
    opened.clear()
    got = load(folder)
    assert len(opened) == 2
    np.testing.assert_array_equal(got.x, expected.x)
    np.testing.assert_array_equal(got.y, expected.y)
    load(folder)
    assert len(opened) == 2


@pytest.mark.parametrize("left_out", [{"cat/b.png": "?"}, {"dog/plain.png": "?"}, {"cat/a.png": 3}])
def test_a_note_and_an_array_that_agree_in_a_lie_are_not_believed(folder, opened, left_out):
    save(folder / "cat" / "a.png", np.zeros((6, 6, 3), np.uint8))
    load(folder)
    npy(np.ones(RIGHT, np.uint8))(folder)
    note(lambda made: {**made, "left_out": left_out})(folder)
    assert len(load(folder)) == 3
    assert len(opened) == 6


def test_a_cache_of_another_form_is_not_taken_for_this_one(folder, noise):
    save(folder / "cat" / "a.png", noise(6, 12))
    load(folder, fit="pad")
    for suffix in "json", "npy":
        (folder / f".nn-6x6-RGB-pad.{suffix}").rename(folder / f".nn-6x6-RGB-crop.{suffix}")
    np.testing.assert_array_equal(load(folder).x, load(folder, cache=False).x)


def test_a_note_cannot_leave_out_a_image_that_the_array_holds(folder, opened):
    save(folder / "cat" / "a.png", np.zeros((6, 6, 3), np.uint8))
    load(folder)
    note(lambda made: {**made, "left_out": {"cat/a.png": "?"}})(folder)
    assert len(load(folder)) == 3
    assert len(opened) == 6


def test_a_huge_note_is_not_read(folder, opened, monkeypatch):
    load(folder)
    monkeypatch.setattr(image_cache, "_MAX_NOTE", 100)
    load(folder)
    assert len(opened) == 4


@pytest.mark.parametrize("error", [KeyboardInterrupt, MemoryError])
@pytest.mark.parametrize("old", [False, True])
def test_an_interruption_leaves_the_folder_as_it_was(folder, monkeypatch, error, old, noise):
    if old:
        load(folder)
    before = {name: (folder / name).read_bytes() for name in cache_files(folder)}
    save(folder / "dog" / "new.png", noise(6, 6))
    true_decode = image_source.decode

    def interrupted(path, form):
        if path.name == "new.png":
            raise error
        return true_decode(path, form)

    with monkeypatch.context() as patch:
        patch.setattr(image_source, "decode", interrupted)
        with pytest.raises(error):
            load(folder, num_threads=0)
    assert {name: (folder / name).read_bytes() for name in cache_files(folder)} == before
    assert len(load(folder)) == 3


@pytest.mark.parametrize("moved", [0, 1])
def test_a_stop_while_the_files_are_moved_never_leaves_a_wrong_pair(folder, monkeypatch, moved):
    load(folder)
    save(folder / "cat" / "plain.png", np.full((6, 6, 3), 77, np.uint8))
    true_replace, count = Path.replace, []

    def stopped(self, target):
        if len(count) == moved:
            raise KeyboardInterrupt
        count.append(target)
        return true_replace(self, target)

    with monkeypatch.context() as patch:
        patch.setattr(Path, "replace", stopped)
        with pytest.raises(KeyboardInterrupt):
            load(folder)
    assert ".nn-6x6-RGB-crop.json" not in cache_files(folder)
    np.testing.assert_array_equal(load(folder).x[0], 77)


def test_a_full_disk_is_an_error_that_says_so(folder, monkeypatch):
    def full(stream, count, form):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(image_cache, "_write_header", full)
    message = r"cannot write the decoded images, 0 MB, to '.*set' \(No space left on device\)"
    with pytest.raises(OSError, match=message):
        load(folder)
    assert cache_files(folder) == []


def forbid(monkeypatch, folder):
    """Let nothing be written into a folder, as if it were read-only, for the superuser too."""
    true_mkdir = os.mkdir

    def mkdir(path, *arguments, **named):
        if Path(path).parent == folder:
            raise PermissionError(13, "Permission denied", str(path))
        return true_mkdir(path, *arguments, **named)

    monkeypatch.setattr(os, "mkdir", mkdir)


def test_a_read_only_folder_is_read_by_way_of_a_temporary_file(folder, tmp_path, monkeypatch):
    expected = load(folder, cache=False).x
    forbid(monkeypatch, folder)
    (tmp_path / "temporary").mkdir()
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path / "temporary"))
    with pytest.warns(RuntimeWarning) as caught:
        dataset = load_image_folder(folder, 6, progress=False)
    assert len(caught) == 1
    text = str(caught[0].message)
    assert "cannot write a cache into" in text
    assert "(Permission denied)" in text
    assert "'cache_dir'" in text
    assert caught[0].filename == __file__
    assert isinstance(dataset.x, np.memmap)
    np.testing.assert_array_equal(dataset.x, expected)
    assert cache_files(folder) == []
    if os.name == "posix":
        assert list((tmp_path / "temporary").iterdir()) == []
    assert len(load(folder, cache_dir=tmp_path / "caches")) == 2


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() == 0, reason="may write anywhere")
def test_a_folder_that_is_read_only_for_the_system_too(folder):
    folder.chmod(0o555)
    try:
        with pytest.warns(RuntimeWarning, match="cannot write a cache into"):
            assert len(load(folder)) == 2
    finally:
        folder.chmod(0o755)


def test_a_cache_dir_that_cannot_be_written_is_an_error(folder, tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(
        OSError, match=r"\[load_image_folder\] cannot write to 'cache_dir', '.*file"
    ):
        load(folder, cache_dir=tmp_path / "file")


# ------------------------------------------------------------------------------- in training


def test_a_model_learns_from_the_mapped_set(folder, rng):
    for k in range(12):
        for name, level in ("cat", 40), ("dog", 200):
            image = rng.integers(level, level + 40, (9, 9, 3), dtype=np.uint8)
            save(folder / name / f"{k}.png", image)
    dataset = load(folder, 4)
    model = nn.Model([nn.Flatten(), nn.Dense(2)], seed=0)
    model.compile("cce", "adam", lr=0.05)
    weights = nn.data.class_weights(dataset.y)
    history = model.fit(
        dataset, epochs=8, batch_size=8, validation_split=0.25, class_weight=weights, verbose=0
    )
    assert history["val_acc"][-1] == 1.0
    assert model.evaluate(dataset)["acc"] > 0.9


def test_control_characters_in_a_name_are_escaped_in_the_warning(folder):
    (folder / "cat" / "\x1b]0;title\x07.png").write_text("not an image")
    with pytest.warns(RuntimeWarning, match=r"cat/\\x1b]0;title\\x07.png") as caught:
        load(folder, cache=False)
    assert str(caught[0].message).isprintable()


@pytest.mark.parametrize(
    "parts", [("train", "validation"), ("test_set", "training_set"), ("dev", "Train images")]
)
def test_parts_of_a_set_are_not_classes(parts, tmp_path):
    for part in parts:
        for name in ("cat", "dog"):
            (tmp_path / part / name).mkdir(parents=True)
            Image.new("RGB", (8, 8), "red").save(tmp_path / part / name / "1.png")
    with pytest.raises(
        ValueError, match=r"\[load_image_folder\] 'path' .*contain the class folders"
    ):
        load(tmp_path)
    assert load(tmp_path / parts[0]).class_names == ("cat", "dog")


def test_new_bytes_of_the_same_size_and_time_make_a_cache_stale(tmp_path):
    for colour in ("red", "blue"):
        for name in ("a", "b"):
            (tmp_path / name).mkdir(exist_ok=True)
            Image.new("RGB", (8, 8), colour).save(tmp_path / name / "1.bmp")
            os.utime(tmp_path / name / "1.bmp", (315532800, 315532800))
        x = load(tmp_path).x
    assert x[0, :, 0, 0].tolist() == [0, 0, 255]
