"""Decode one image: with Pillow, upright, without transparency, resized.

`load_image_folder` decodes all its images with `decode`; `load_image` does the same to a single
one, so that a model gets new images in the form of those that it was trained on.
"""

import contextlib
import functools
import math
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

import numpy as np

from ... import checks
from ...text import printable

if TYPE_CHECKING:
    from PIL import Image

    Source = str | os.PathLike | BinaryIO | Image.Image

#: The formats that Pillow tries, whatever a file's name is. Not EPS, which runs another program.
_FORMATS = ("BMP", "GIF", "JPEG", "PNG", "PPM", "TIFF", "WEBP")
_HEIF = "HEIF"  # of iPhones, if the package pillow-heif is installed
_SIXTEEN_BITS = ("PNG", "PPM")  # formats whose 16-bit grey values Pillow may return as 32 bits
_CHANNELS = {"RGB": 3, "L": 1}
_FITS = ("crop", "pad", "stretch")
_OWNER = "load_image"


def load_image(
    path: "Source",
    size: int | tuple[int, int] = (128, 128),
    mode: str = "RGB",
    fit: str = "crop",
) -> np.ndarray:
    """Return an image in the form in which `load_image_folder` returns those in a folder.

    Parameters
    ----------
    path
        The path of a file in one of the formats of `load_image_folder`; such a file, opened in
        binary mode; or an image of Pillow's.
    size
        Pixels (height, width), or one number for both.
    mode, fit
        As for `load_image_folder`.

    Returns
    -------
    image
        (C, height, width) uint8. A model takes batches: `model.predict(image[np.newaxis])`.

    Raises
    ------
    FileNotFoundError, PermissionError
        If the file cannot be read.
    ValueError
        If it is not an image or too large, or an argument is wrong.
    TypeError
        If `path` is something else.
    ImportError
        If Pillow is not installed.

    Examples
    --------
    >>> import tempfile
    >>> from PIL import Image
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     Image.new("RGB", (40, 30), "red").save(Path(folder, "ruby.png"))
    ...     image = load_image(Path(folder, "ruby.png"), size=8)
    >>> image.shape, image[:, 0, 0]
    ((3, 8, 8), array([255,   0,   0], dtype=uint8))
    """
    form = check_form(_OWNER, size, mode, fit)
    require_pillow(_OWNER)
    with decoding_errors(_OWNER, path):
        return decode(path, form)


@dataclass(frozen=True)
class Form:
    """The form of all images: their size, mode, and how they are fitted into it."""

    height: int
    width: int
    mode: str
    fit: str

    @property
    def shape(self) -> tuple[int, int, int]:
        """(C, H, W)."""
        return _CHANNELS[self.mode], self.height, self.width

    def __str__(self) -> str:
        return f"{self.height}x{self.width}-{self.mode}-{self.fit}"


def check_form(owner: str, size: Any, mode: Any, fit: Any) -> Form:
    """Return the arguments of `load_image` as a form, or raise if one is wrong."""
    height, width = checks.pair(owner, "size", size)
    if mode not in _CHANNELS:
        raise checks.unknown(owner, "mode", mode, _CHANNELS)
    if fit not in _FITS:
        raise checks.unknown(owner, "fit", fit, _FITS)
    return Form(height, width, mode, fit)


def require_pillow(owner: str) -> None:
    """Raise if Pillow is not installed."""
    checks.require(owner, "PIL", "Pillow", "decode images")


def is_source(value: Any) -> bool:
    """Return whether `load_image` takes a value: a path, an open file or an image of Pillow's."""
    return isinstance(value, str | os.PathLike) or hasattr(value, "read") or _is_image(value)


def _is_image(value: Any) -> bool:
    return hasattr(value, "getexif")


@contextlib.contextmanager
def decoding_errors(owner: str, source: Any) -> Iterator[None]:
    """Raise any error in decoding as one that names the function and the file."""
    if not is_source(source):
        rule = "must be a path, a file opened in binary mode or an image of Pillow's"
        hint = ": pass io.BytesIO(content)." if isinstance(source, bytes | bytearray) else "."
        raise TypeError(f"[{owner}] 'path' {rule}, got {type(source).__name__}{hint}")
    try:
        yield
    except MemoryError:
        raise
    except Exception as error:  # damaged files make the decoders fail in any way
        missing = isinstance(error, FileNotFoundError | PermissionError)
        kind = type(error) if missing else ValueError
        is_path = isinstance(source, str | os.PathLike)
        name = printable(os.fspath(source)) if is_path else type(source).__name__
        why = reason(error)
        if _HEIF not in formats() and _is_heic(source):
            why = "HEIC files need pillow-heif: python -m pip install pillow-heif"
        raise kind(f"[{owner}] cannot decode '{name}': {why}.") from error


def reason(error: Exception) -> str:
    """Return in a few words why an image could not be decoded."""
    from PIL import UnidentifiedImageError

    if isinstance(error, UnidentifiedImageError):
        return "in none of the known formats"
    text = getattr(error, "strerror", None) or str(error) or type(error).__name__
    return printable(text.splitlines()[0])


@functools.cache
def formats() -> tuple[str, ...]:
    """Return the formats that are tried, with HEIC if pillow-heif is installed."""
    try:
        import pillow_heif  # type: ignore[import-not-found]
    except ImportError:
        return _FORMATS
    pillow_heif.register_heif_opener()
    return (*_FORMATS, _HEIF)


def _is_heic(source: Any) -> bool:
    """Return whether a file begins as a HEIC or HEIF file does (ISO 23008-12, section 10)."""
    if not isinstance(source, str | os.PathLike):
        return False
    try:
        with Path(source).open("rb") as file:
            head = file.read(12)
    except OSError:
        return False
    return head[4:8] == b"ftyp" and head[8:12] in (b"heic", b"heix", b"hevc", b"mif1", b"msf1")


@contextlib.contextmanager
def open_image(source: Any) -> Iterator["Image.Image"]:
    """Open an image with Pillow, but do not decode it yet."""
    from PIL import Image

    if _is_image(source):
        yield source.copy()  # decoding may change it
        return
    if isinstance(source, str | os.PathLike):
        path = Path(source)
        if path.is_dir():
            raise IsADirectoryError("it is a folder")
        if not path.is_file():  # a pipe, which would block for ever, or a dangling link
            raise FileNotFoundError("there is no file")
        if path.stat().st_size == 0:
            raise ValueError("the file is empty")
    with Image.open(source, formats=formats()) as image:
        _refuse_bomb(image.size)
        yield image


def decode(source: Any, form: Form) -> np.ndarray:
    """Return an image as (C, H, W) uint8."""
    with open_image(source) as image:
        return to_array(image, form)


def to_array(image: "Image.Image", form: Form) -> np.ndarray:
    """Return an open image as (C, H, W) uint8."""
    if image.format in ("JPEG", "MPO"):
        # It can be decoded at a half, quarter or eighth of its size, in less time; twice the
        # requested size leaves enough pixels to average over.
        wanted = 2 * form.width, 2 * form.height
        image.draft(form.mode, wanted[::-1] if orientation(image) >= 5 else wanted)
    image.load()  # before the EXIF data are read, which are at the end of some PNG files
    turn = _turns().get(orientation(image))
    flat = _without_alpha(_as_8_bit(image)).convert(form.mode)
    if turn is not None:
        flat = flat.transpose(turn)
    array = np.asarray(_FIT[form.fit](flat, (form.width, form.height)))
    array = array.reshape(form.height, form.width, -1)  # (H, W, 3) or (H, W) -> (H, W, C)
    return np.ascontiguousarray(array.transpose(2, 0, 1))  # (H, W, C) -> (C, H, W)


def _refuse_bomb(size: tuple[int, int]) -> None:
    """Raise if an image has more pixels than the number from which Pillow warns."""
    from PIL import Image

    limit = Image.MAX_IMAGE_PIXELS
    if limit is not None and math.prod(size) > limit:
        raise ValueError(f"{math.prod(size)} pixels, more than PIL.Image.MAX_IMAGE_PIXELS")


def orientation(image: "Image.Image") -> int:
    """Return the EXIF orientation, 1 to 8; from 5 on, width and height are exchanged."""
    try:
        value = image.getexif().get(0x0112, 1)
    except Exception:  # broken EXIF data do not matter
        return 1
    return value if checks.is_integer(value) else 1


def _turns() -> dict[int, Any]:
    """Return the flips and rotations by EXIF orientation (CIPA DC-008, section 4.6.4)."""
    from PIL.Image import Transpose

    return {
        2: Transpose.FLIP_LEFT_RIGHT,
        3: Transpose.ROTATE_180,
        4: Transpose.FLIP_TOP_BOTTOM,
        5: Transpose.TRANSPOSE,
        6: Transpose.ROTATE_270,
        7: Transpose.TRANSVERSE,
        8: Transpose.ROTATE_90,
    }


def _as_8_bit(image: "Image.Image") -> "Image.Image":
    """Convert an image of 16-bit grey values to 8 bits; return others unchanged."""
    from PIL import Image

    # Depending on its version, Pillow returns 16 bits as such or in 32; `convert` would clip them.
    if image.mode.startswith("I;16") or (image.mode == "I" and image.format in _SIXTEEN_BITS):
        values = np.asarray(image).astype(np.uint32)  # 0 to 65535 = 257 * 255
        return Image.fromarray(((values + 128) // 257).astype(np.uint8))
    if image.mode in ("I", "F"):
        raise ValueError("32-bit values of unknown range")
    return image


def _without_alpha(image: "Image.Image") -> "Image.Image":
    """Return a transparent image on a white background; others as they are."""
    from PIL import Image

    if not image.has_transparency_data:
        return image
    white = Image.new("RGBA", image.size, "white")
    return Image.alpha_composite(white, image.convert("RGBA")).convert("RGB")


# ------------------------------------------------------------------------------- resizing
# Sizes are (width, height) here, as everywhere in Pillow. If its `resize` makes an image smaller,
# it averages over all pixels (no aliasing).


def _crop(image: "Image.Image", size: tuple[int, int]) -> "Image.Image":
    """Return the largest centred part that has the right shape, resized.

    It is cropped first: a long thin image, resized first, could fill the memory.
    """
    from PIL import Image, ImageOps

    return ImageOps.fit(image, size, Image.Resampling.BILINEAR)


def _pad(image: "Image.Image", size: tuple[int, int]) -> "Image.Image":
    """Return the whole image, resized, in the middle of a black one."""
    from PIL import Image

    scale = max(image.width / size[0], image.height / size[1])
    inner = max(1, round(image.width / scale)), max(1, round(image.height / scale))
    padded = Image.new(image.mode, size)
    corner = (size[0] - inner[0]) // 2, (size[1] - inner[1]) // 2
    padded.paste(image.resize(inner, Image.Resampling.BILINEAR), corner)
    return padded


def _stretch(image: "Image.Image", size: tuple[int, int]) -> "Image.Image":
    from PIL import Image

    return image.resize(size, Image.Resampling.BILINEAR)


_FIT = {"crop": _crop, "pad": _pad, "stretch": _stretch}
