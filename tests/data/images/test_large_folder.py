"""A folder of 5,000 photographs trains a network of 8 million parameters in a bounded memory."""

import json
import subprocess
import sys
import textwrap

import numpy as np
import pytest

IMAGES, CLASSES, STEPS = 5000, 38, 60


def make_folder(path):
    """Write JPEG files of 160 x 120 pixels, enlarged noise, in a folder a class."""
    image = pytest.importorskip("PIL.Image", reason="needs Pillow, the extra 'images'")
    rng = np.random.default_rng(0)
    for index in range(IMAGES):
        folder = path / f"class {index % CLASSES:02}"
        folder.mkdir(exist_ok=True)
        pixels = rng.integers(0, 256, (12, 16, 3), dtype=np.uint8)
        photo = image.fromarray(pixels).resize((160, 120))
        photo.save(folder / f"{index:05}.jpg", quality=85)


TRAIN = """
import json, sys, time
import nn
from nn.data import load_image_folder


def memory(name):
    with open("/proc/self/status") as lines:
        return next(int(line.split()[1]) * 1024 for line in lines if line.startswith(name))


class Watch(nn.callbacks.Callback):
    seen, epochs = [], []

    def on_epoch_begin(self, epoch, logs):
        self.epochs.append(time.perf_counter())

    def on_train_batch_end(self, batch, logs):
        self.seen.append(memory("VmRSS"))
        if len(self.seen) == {steps}:
            raise KeyboardInterrupt  # in the middle of an epoch, as a user would


start = time.perf_counter()
images = load_image_folder(sys.argv[1], size=128, progress=False)
loaded = time.perf_counter() - start
model = nn.zoo.large_cnn(seed=0)
model.compile("cce", "adam", lr=1e-3)
model.fit(images, epochs=10, batch_size=32, steps_per_epoch=40, callbacks=[Watch()], verbose=0)
print(json.dumps({{
    "images": len(images), "parameters": sum(p.size for p, _ in model.get_params_and_grads()),
    "classes": len(images.class_names), "loaded": loaded, "seen": Watch.seen,
    "epochs": len(Watch.epochs), "peak": memory("VmHWM"),
}}))
"""


def run(script, *arguments):
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", textwrap.dedent(script), *map(str, arguments)],
        capture_output=True,
        text=True,
        timeout=900,
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout.splitlines()[-1])


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_a_large_folder_trains_in_a_bounded_memory(tmp_path):
    make_folder(tmp_path)
    first = run(TRAIN.format(steps=STEPS), tmp_path)
    assert (first["images"], first["classes"]) == (IMAGES, CLASSES)
    assert 8.2e6 < first["parameters"] < 8.4e6
    assert first["epochs"] == 2  # 40 steps each, so the second was under way
    assert first["peak"] < 2.5e9
    seen = np.array(first["seen"])
    assert len(seen) == STEPS
    assert seen[15:].max() < 1.05 * seen[15:30].max()

    caches = {path: path.stat().st_mtime_ns for path in tmp_path.glob(".nn-*")}
    assert sum(path.suffix == ".npy" for path in caches) == 1
    again = run(TRAIN.format(steps=1), tmp_path)
    assert again["loaded"] < first["loaded"] / 4  # nothing was decoded anew
    assert caches == {path: path.stat().st_mtime_ns for path in tmp_path.glob(".nn-*")}
