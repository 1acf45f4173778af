"""The pages in docs/ say what the code does."""

import re
import sys
from pathlib import Path

import numpy as np

import nn

DOCS = Path(__file__).resolve().parents[2] / "docs"
NN = Path(nn.__file__).resolve().parent
LEFT_OUT = ("kernels/", "cuda.py", "checks.py")  # the page says why


def functions_of_a_batch(model, data):
    """Return (file, function) of all that `fit` enters for one batch, in order of first entry."""
    entered = []

    def note(frame, event, _):
        if event == "call":
            code = frame.f_code
            entered.append((Path(code.co_filename), code.co_qualname))

    sys.setprofile(note)
    try:
        model.fit(data, batch_size=len(data), verbose=0)
    finally:
        sys.setprofile(None)
    inside = [(path.relative_to(NN), name) for path, name in entered if NN in path.parents]
    found = [(path.as_posix(), name) for path, name in inside if "<" not in name]
    found = found[found.index(("data/batching.py", "prepared")) :]
    found = found[: found.index(("model.py", "Model.finish_step")) + 1]
    return list(dict.fromkeys(pair for pair in found if not pair[0].startswith(LEFT_OUT)))


def test_the_page_on_architecture_names_every_function_of_a_batch():
    layers = [nn.Conv2D(4, input_shape=(1, 8, 8)), nn.ReLU(), nn.MaxPool2D(), nn.Flatten()]
    model = nn.Model([*layers, nn.Dense(3)], seed=0)
    model.compile("cce", "sgd", lr=0.1)
    rng = np.random.default_rng(0)
    data = nn.Dataset(rng.integers(0, 256, (32, 1, 8, 8), dtype=np.uint8), np.arange(32) % 3)
    model.fit(data, batch_size=32, verbose=0)  # what is done only once is done now

    page = (DOCS / "architecture.md").read_text(encoding="utf-8")
    named = re.findall(r"^\| `([\w/]+\.py)` \| `([\w.]+)` \|", page, flags=re.MULTILINE)
    assert named == functions_of_a_batch(model, data)
    assert len(named) <= 55, "a batch is read in one sitting"
