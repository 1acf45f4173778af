"""Image folders: images in one sub-folder for each class, decoded once.

Decoding and resizing a photograph takes longer than a small network takes to learn from it, and
would be repeated in every epoch. So each image is decoded once, by Pillow and on several threads
(`source`), and stored in a file that is memory-mapped (`cache`): the set need not fit into memory,
and the next run starts at once.
"""

import os
import warnings
from pathlib import Path

import numpy as np

from ... import checks
from ..batching import check_threads
from ..dataset import Dataset
from .cache import decode_into_cache
from .decode import check_form
from .source import OWNER, ImageSource, list_images


def load_image_folder(
    path: str | os.PathLike,
    size: int | tuple[int, int] = (128, 128),
    mode: str = "RGB",
    fit: str = "crop",
    cache: bool = True,
    cache_dir: str | os.PathLike | None = None,
    num_threads: int | None = None,
    progress: bool = True,
) -> Dataset:
    """Return the images in a folder that has a sub-folder for each class.

    As in torchvision's ImageFolder, the classes are the sub-folders in the order of their names,
    and a class has all the images in its sub-folder and in folders within it; a file counts as an
    image by its suffix (.bmp, .gif, .heic, .heif, .jpeg, .jpg, .pgm, .png, .ppm, .tif, .tiff,
    .webp). Names that begin with a dot are ignored. HEIC needs the package pillow-heif.

    Every image is rotated according to its EXIF data, gets a white background if it is
    transparent, is converted to RGB or grey, and resized with a filter that averages over all
    pixels. Values of 16 bits are reduced to 8, and of several frames the first is taken. Images
    that cannot be decoded are left out, and so are those of more than
    `PIL.Image.MAX_IMAGE_PIXELS` pixels (Pillow's limit, 89 million: a small file can unpack to any
    size); one warning says how many, and why. Set that constant higher, or to None, for images
    that you trust.

    The result is stored in two files in `path`, `.nn-<height>x<width>-<mode>-<fit>.npy` and
    `.json`, which the next call with these settings uses unless an image was added, removed or
    changed (by its size and by the times at which its content and its attributes changed). If
    `path` cannot be written to, a warning says so, and a temporary file is used for as long as the
    dataset is.

    Parameters
    ----------
    path
        The folder.
    size
        Pixels (height, width) of all images, or one number for both.
    mode
        'RGB' for three channels, 'L' for one of grey values.
    fit
        How an image of another shape is fitted. 'crop' scales its shorter side and crops both
        ends of the other; 'pad' scales its longer side and adds black borders; 'stretch' changes
        its aspect ratio.
    cache
        Whether to store the decoded images in a file. False keeps them in memory.
    cache_dir
        Folder for the cache instead of `path`, created if it does not exist. Caches of several
        sets may share it.
    num_threads
        Threads that decode; None for `min(8, cores)`, 0 for the calling thread alone.
    progress
        Whether to show a bar on the standard error while images are decoded.

    Returns
    -------
    dataset
        Images (N, C, height, width) uint8, a `numpy.memmap` unless `cache` is False; labels (N,)
        int64; the names of the sub-folders as `class_names`.

    Raises
    ------
    FileNotFoundError, NotADirectoryError, PermissionError
        If a folder cannot be read.
    OSError
        If the cache cannot be written, as the disk is full or `cache_dir` lacks permission.
    ValueError
        If there are fewer than two classes, a class has no image that can be decoded, the
        sub-folders are parts of a set (train, validation), or an argument is wrong.
    ImportError
        If there is something to decode and Pillow is not installed.

    Examples
    --------
    >>> import tempfile
    >>> from PIL import Image
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     for name, colour in ("ruby", "red"), ("sapphire", "blue"):
    ...         Path(folder, name).mkdir()
    ...         Image.new("RGB", (40, 30), colour).save(Path(folder, name, "first.png"))
    ...     stones = load_image_folder(folder, size=8, cache=False, progress=False)
    >>> stones, stones.class_names
    (Dataset(2 samples of shape (3, 8, 8) and dtype uint8, 2 classes), ('ruby', 'sapphire'))
    >>> stones.x[:, :, 0, 0]
    array([[255,   0,   0],
           [  0,   0, 255]], dtype=uint8)
    """
    form = check_form(OWNER, size, mode, fit)
    threads = check_threads(OWNER, num_threads)
    if not isinstance(cache, bool):
        raise checks.error(OWNER, "cache", "must be True or False", cache)
    if cache_dir is not None and not cache:
        raise checks.error(OWNER, "cache_dir", "needs cache=True", cache_dir)
    checks.path(OWNER, "path", path)
    class_names, images = list_images(Path(path))
    source = ImageSource(Path(path), class_names, images, form, threads, progress)
    x, left_out = decode_into_cache(source, cache_dir) if cache else source.decode_into_memory()
    if left_out:
        again = " The cache omits them until a file in the folder changes." if cache else ""
        warnings.warn(source.report(left_out) + again, RuntimeWarning, stacklevel=2)
    labels = [image.label for image in images if image.name not in left_out]
    return Dataset(x, np.array(labels, dtype=np.int64), class_names=class_names)
