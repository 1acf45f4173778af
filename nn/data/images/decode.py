"""One image from a file: decoded by Pillow, turned upright, without alpha, of the size asked for.

`load_image_folder` brings all its images to one form by `decode`; `load_image` does the same to
a single one, so that a model sees a new image as it saw those that it learned from.
"""

import math
import os
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from ... import checks

if TYPE_CHECKING:
    from PIL import Image

#: What Pillow may take a file for, whatever its name says. Not EPS, which runs another program.
_FORMATS = ("BMP", "GIF", "JPEG", "PNG", "PPM", "TIFF", "WEBP")
_SIXTEEN_BITS = ("PNG", "PPM")  # formats whose grey values have 16 bits where Pillow shows 32
_CHANNELS = {"RGB": 3, "L": 1}
_FITS = ("crop", "pad", "stretch")
_OWNER = "load_image"


def load_image(
    path: str | os.PathLike,
    size: int | tuple[int, int] = (128, 128),
    mode: str = "RGB",
    fit: str = "crop",
) -> np.ndarray:
    """Return the image in a file as `load_image_folder` has those in a folder.

    Parameters
    ----------
    path
        A file in one of the formats of `load_image_folder`.
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
        For a file that cannot be read.
    ValueError
        For one that is no image or too large, or a wrong argument.
    ImportError
        Where Pillow is not installed.

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
    path = Path(path)
    try:
        return decode(path, form)
    except MemoryError:
        raise
    except Exception as error:  # damage makes the decoders fail in any way at all
        missing = isinstance(error, FileNotFoundError | PermissionError)
        kind = type(error) if missing else ValueError
        raise kind(f"[{_OWNER}] cannot decode '{path}': {why_not(error)}.") from error


@dataclass(frozen=True)
class Form:
    """What every image is brought to."""

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
    """Return the arguments of `load_image` as a form, or raise."""
    height, width = checks.pair(owner, "size", size)
    if mode not in _CHANNELS:
        raise checks.unknown(owner, "mode", mode, _CHANNELS)
    if fit not in _FITS:
        raise checks.unknown(owner, "fit", fit, _FITS)
    return Form(height, width, mode, fit)


def require_pillow(owner: str) -> None:
    """Raise where Pillow is not installed."""
    try:
        import PIL  # noqa: F401
    except ImportError as error:
        raise ImportError(
            f"[{owner}] needs Pillow to decode images: python -m pip install pillow."
        ) from error


def why_not(error: Exception) -> str:
    """Return in a few words why an image could not be decoded."""
    from PIL import UnidentifiedImageError

    if isinstance(error, UnidentifiedImageError):
        return "in none of the known formats"
    text = getattr(error, "strerror", None) or str(error) or type(error).__name__
    return text.splitlines()[0]


def decode(path: Path, form: Form) -> np.ndarray:
    """Return the image in a file as (C, H, W) uint8."""
    from PIL import Image

    if path.is_dir():
        raise IsADirectoryError("it is a folder")
    if not path.is_file():  # a pipe, which would wait for ever, or a link to nowhere
        raise FileNotFoundError("there is no file")
    if path.stat().st_size == 0:
        raise ValueError("the file is empty")
    with Image.open(path, formats=_FORMATS) as image:
        _refuse_bomb(image.size)
        if image.format in ("JPEG", "MPO"):
            # It can be decoded at a half, quarter or eighth of its size, in as much less time;
            # twice what is asked for leaves enough to average over.
            wanted = 2 * form.width, 2 * form.height
            image.draft(form.mode, wanted[::-1] if orientation(image) >= 5 else wanted)
        image.load()  # before anything asks for the EXIF data: a PNG file may have them last
        turn = _turns().get(orientation(image))
        flat = _without_alpha(_in_eight_bits(image)).convert(form.mode)
    if turn is not None:
        flat = flat.transpose(turn)
    array = np.asarray(_FIT[form.fit](flat, (form.width, form.height)))
    array = array.reshape(form.height, form.width, -1)  # (H, W, 3) or (H, W) -> (H, W, C)
    return np.ascontiguousarray(array.transpose(2, 0, 1))  # (H, W, C) -> (C, H, W)


def _refuse_bomb(size: tuple[int, int]) -> None:
    """Raise for more pixels than Pillow itself warns of."""
    from PIL import Image

    limit = Image.MAX_IMAGE_PIXELS
    if limit is not None and math.prod(size) > limit:
        raise ValueError(f"{math.prod(size)} pixels, more than PIL.Image.MAX_IMAGE_PIXELS")


def orientation(image: "Image.Image") -> int:
    """Return the EXIF orientation, 1 to 8: from 5 on the image lies on its side."""
    try:
        value = image.getexif().get(0x0112, 1)
    except Exception:  # an image is worth more than broken notes about it
        return 1
    return value if checks.is_integer(value) else 1


def _turns() -> dict[int, Any]:
    """Return what sets an image upright, by its EXIF orientation (CIPA DC-008, section 4.6.4)."""
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


def _in_eight_bits(image: "Image.Image") -> "Image.Image":
    """Return an image of 16-bit grey values as one of bytes; others as they are."""
    from PIL import Image

    # Pillow hands out 16 bits as such or, by its version, in 32; conversion would clip them.
    if image.mode.startswith("I;16") or (image.mode == "I" and image.format in _SIXTEEN_BITS):
        values = np.asarray(image).astype(np.uint32)  # 0 to 65535 = 257 * 255
        return Image.fromarray(((values + 128) // 257).astype(np.uint8))
    if image.mode in ("I", "F"):
        raise ValueError("32-bit values, of which nobody knows which is white")
    return image


def _without_alpha(image: "Image.Image") -> "Image.Image":
    """Return a transparent image laid on white; others as they are."""
    from PIL import Image

    if not image.has_transparency_data:
        return image
    white = Image.new("RGBA", image.size, "white")
    return Image.alpha_composite(white, image.convert("RGBA")).convert("RGB")


# ------------------------------------------------------------------------------- the scaling
# Sizes are (width, height) here, as everywhere in Pillow. Its `resize` widens the filter when it
# makes an image smaller, so that every pixel counts (no aliasing).


def _crop(image: "Image.Image", size: tuple[int, int]) -> "Image.Image":
    """Return the largest part in the middle that has the right shape, scaled.

    It is cut before it is scaled: a long thin image, scaled first, would fill the memory.
    """
    from PIL import Image

    scale = min(image.width / size[0], image.height / size[1])
    width = min(size[0] * scale, image.width)  # one of them is the image's, but for rounding
    height = min(size[1] * scale, image.height)
    left, top = (image.width - width) / 2, (image.height - height) / 2
    box = (left, top, left + width, top + height)
    return image.resize(size, Image.Resampling.BILINEAR, box=box)


def _pad(image: "Image.Image", size: tuple[int, int]) -> "Image.Image":
    """Return the whole image, scaled to the middle of a black one."""
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
