"""Make the `.ipynb` files from the `.py` files of this folder, with their outputs.

    python notebooks/make_notebooks.py
    python notebooks/make_notebooks.py --only optimizers

It needs the extras `fast`, `images`, `plot` and `notebooks`, for one notebook Keras and PyTorch,
and takes some minutes on 2 cores. The `.py` files are the sources; a test compares the cells of the
two. `cifar10_on_a_laptop` is not run, as it needs a download and longer training: its `.ipynb` has
no outputs.
"""

import argparse
import base64
import io
import os
import sys
import tempfile
import tomllib
from pathlib import Path

import jupytext
import nbformat
from PIL import Image

FOLDER = Path(__file__).resolve().parent
NAMES = sorted(path.stem for path in FOLDER.glob("*.py") if path != Path(__file__).resolve())
NOT_RUN = ("cifar10_on_a_laptop",)
SECONDS = 600  # for a cell
LOOK = "figure.dpi: 64\nsavefig.dpi: 64\n"  # so that files stay small
INSTALL = """try:
    import nn
except ImportError:  # on Colab, for example
    %pip install -q "nn-sequential[fast,images,plot]\""""


def repository():
    """Return the address of the repository, which stands in `pyproject.toml`."""
    project = tomllib.loads((FOLDER.parent / "pyproject.toml").read_text(encoding="utf-8"))
    return project["tool"]["hatch"]["metadata"]["hooks"]["custom"]["repository"]


def notebook_of(name):
    """Return a notebook without outputs: the cells of the file, with two in front of them."""
    notebook = jupytext.read(FOLDER / f"{name}.py")
    place = repository().removeprefix("https://github.com/")
    link = f"https://colab.research.google.com/github/{place}/blob/main/notebooks/{name}.ipynb"
    badge = f"[![Open in Colab](https://colab.research.google.com/assets/colab-badge.svg)]({link})"
    made = [nbformat.v4.new_markdown_cell(badge), nbformat.v4.new_code_cell(INSTALL)]
    notebook.cells = [*made, *notebook.cells]
    kernel = {"display_name": "Python 3", "language": "python", "name": "python3"}
    about = {"kernelspec": kernel, "language_info": {"name": "python"}}
    notebook.metadata = nbformat.from_dict(about)
    for number, cell in enumerate(notebook.cells):
        cell["id"] = f"cell-{number}"
        cell["metadata"] = {}
    return notebook


def smaller(png):
    """Return a PNG file in base64 with 64 colours."""
    image = Image.open(io.BytesIO(base64.b64decode(png))).convert("RGB")
    file = io.BytesIO()
    image.quantize(64, dither=Image.Dither.NONE).save(file, "PNG", optimize=True)
    return base64.b64encode(file.getvalue()).decode()


def run(notebook):
    """Run the cells in an empty folder, which shows that a notebook works in any."""
    from nbclient import NotebookClient

    with tempfile.TemporaryDirectory() as folder:
        (Path(folder) / "matplotlibrc").write_text(LOOK, encoding="utf-8")
        os.environ["MATPLOTLIBRC"] = folder
        client = NotebookClient(notebook, timeout=SECONDS, resources={"metadata": {"path": folder}})
        client.execute()
    for cell in notebook.cells:
        cell["metadata"] = {}  # the times of the cells, which change
        for output in cell.get("outputs", []):
            output.pop("metadata", None)
            if output["output_type"] in ("display_data", "execute_result"):
                output["metadata"] = {}
                if "image/png" in output["data"]:
                    output["data"]["image/png"] = smaller(output["data"]["image/png"])


def main(arguments=None):
    """Make the notebooks."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--only", nargs="+", choices=NAMES, default=NAMES)
    options = parser.parse_args(arguments)
    sys.path.insert(0, str(FOLDER.parent))
    paths = [str(FOLDER.parent), os.environ.get("PYTHONPATH", "")]
    os.environ["PYTHONPATH"] = os.pathsep.join(filter(None, paths))  # of the kernels
    for name in options.only:
        notebook = notebook_of(name)
        if name not in NOT_RUN:
            run(notebook)
        path = FOLDER / f"{name}.ipynb"
        nbformat.write(notebook, path)
        print(f"{path.name}: {path.stat().st_size:,} bytes", flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
