"""Run the examples and keep an image of each for docs/gallery.md.

    python docs/make_gallery.py --data PATH

PATH is a folder with the data that are not in the project, in `sequences/` (see the docstrings of
the examples); an example without its data is left out. It takes some minutes on 2 cores and writes
into docs/images/gallery. For an example that only prints, the image shows the end of that.
"""

import argparse
import os
import subprocess
import sys
import tempfile
from pathlib import Path

from PIL import Image, ImageDraw, ImageFont

DOCS = Path(__file__).resolve().parent
EXAMPLES = DOCS.parent / "examples"
SIZE = (420, 280)  # pixels of an image
LINES = 15  # of printed text at most
COLUMNS = 66

# The options of each example, and the image that it writes; None if it only prints. {data} is the
# folder with data.
RUNS: dict[str, tuple[str, str | None]] = {
    "autoencoder": ("--epochs 4", "autoencoder.png"),
    "compare_optimizers": ("--epochs 3", "compare_optimizers.png"),
    "custom_layer_loss_optimizer": ("", "custom.png"),
    "decision_boundary": ("", "decision_boundary.gif"),
    "forecast": (
        "{data}/sequences/seattle_temperatures.csv.gz --epochs 2 --units 16",
        None,
    ),
    "film_filters": ("--dense --out film.gif", "film.gif"),
    "lr_range": ("--epochs 2", "lr_range.png"),
    "mnist_train": ("--small --epochs 4 --no-download", "mnist_model.png"),
    "one_neuron_to_deep": ("", "one_neuron_to_deep.png"),
    "segmentation": ("", "segmentation.png"),
    "spam_filter": ("{data}/sequences/spam.tsv.gz", None),
    "speaker": ("{data}/sequences/japanese_vowels.npz --epochs 15", None),
    "text_generation": (
        "{data}/sequences/moby_dick.txt.gz --epochs 1 --units 96 --characters 300",
        None,
    ),
    "training_loop_by_hand": ("--epochs 2", None),
    "transfer": ("--draws 3", "transfer.png"),
    "vae": ("--epochs 15", "vae.png"),
}


def run(name: str, options: str, folder: Path, data: Path) -> str | None:
    """Run an example in a folder; return what it printed, or None if it failed."""
    arguments = options.format(data=data).split()
    environment = os.environ | {"PYTHONPATH": str(DOCS.parent)}
    done = subprocess.run(
        [sys.executable, str(EXAMPLES / f"{name}.py"), *arguments],
        cwd=folder,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        last = (done.stderr.strip().splitlines() or ["no message"])[-1]
        print(f"{name}: failed: {last}")
        return None
    return done.stdout


def text_image(text: str) -> Image.Image:
    """Return an image of the end of a text."""
    from matplotlib import get_data_path

    font = ImageFont.truetype(f"{get_data_path()}/fonts/ttf/DejaVuSansMono.ttf", 10)
    lines = [line[:COLUMNS] for line in text.rstrip().splitlines()][-LINES:]
    image = Image.new("RGB", SIZE, "#ffffff")
    draw = ImageDraw.Draw(image)
    draw.multiline_text((12, 12), "\n".join(lines), font=font, fill="#16202e", spacing=7)
    return image


def last_of(path: Path) -> Image.Image:
    """Return an image from a file, the last one of an animation."""
    with Image.open(path) as image:
        image.seek(getattr(image, "n_frames", 1) - 1)
        return fitted(image)


def fitted(image: Image.Image) -> Image.Image:
    """Return an image scaled to fit into the size, on white."""
    image = image.convert("RGB")
    image.thumbnail(SIZE, Image.Resampling.LANCZOS)
    whole = Image.new("RGB", SIZE, "#ffffff")
    whole.paste(image, ((SIZE[0] - image.width) // 2, (SIZE[1] - image.height) // 2))
    return whole


def main(arguments: list[str] | None = None) -> int:
    """Make the images."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, default=DOCS.parent.parent / "shared" / "data")
    parser.add_argument("--out", type=Path, default=DOCS / "images" / "gallery")
    parser.add_argument("--only", nargs="+", choices=RUNS, default=list(RUNS))
    options = parser.parse_args(arguments)
    options.out.mkdir(parents=True, exist_ok=True)
    failed = 0
    for name in options.only:
        with tempfile.TemporaryDirectory() as folder:
            printed = run(name, RUNS[name][0], Path(folder), options.data.resolve())
            if printed is None:
                failed += 1
                continue
            image = RUNS[name][1]
            drawn = last_of(Path(folder) / image) if image else text_image(printed)
        path = options.out / f"{name}.webp"
        drawn.save(path, quality=70, method=6)
        print(f"{path}: {path.stat().st_size:,} bytes", flush=True)
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
