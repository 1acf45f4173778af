"""Film: an animated GIF of what changes while a model trains."""

import io
import os
import signal

import numpy as np
import pytest

import nn
from nn.callbacks import Film
from nn.callbacks.film import tiles_image, weight_tiles

Image = pytest.importorskip("PIL.Image", reason="needs Pillow (the extra 'images')")

RNG = np.random.default_rng(0)
X, Y = RNG.normal(size=(20, 1, 8, 8)), np.arange(20) % 2


def model_of(*layers):
    model = nn.Model([*layers, nn.Flatten(), nn.Dense(2)], seed=0)
    model.build((None, 1, 8, 8))
    model.compile("cce", "adam", lr=0.01)
    return model


def frames_of(path):
    with Image.open(path) as film:
        frames, times = [], []
        for k in range(film.n_frames):
            film.seek(k)
            times.append(film.info["duration"])
            frames.append(np.asarray(film.convert("RGB")).astype(int))
    return frames, times


@pytest.mark.parametrize(("options", "count"), [({}, 5), ({"every": 2}, 3), (
    {"every": 3, "by": "step"}, 7)])  # fmt: skip
def test_an_image_before_the_first_step_and_after_every_few(options, count, tmp_path):
    film = Film(tmp_path / "film.gif", fps=5, **options)
    model_of(nn.Conv2D(4)).fit(X, Y, epochs=4, batch_size=4, callbacks=film, verbose=0)
    frames, times = frames_of(film.path)
    assert len(film.images) == count
    assert len(frames) == count and times == [200] * (count - 1) + [2000]
    assert np.abs(frames[0] - frames[-1]).max() > 20  # the filters have changed


def test_the_last_image_shows_the_weights(tmp_path):
    model = model_of(nn.Conv2D(4, 3))
    film = Film(tmp_path / "film.gif")
    model.fit(X, Y, epochs=2, callbacks=[film], verbose=0)
    w = model.layers[0].params["W"][:, 0]
    np.testing.assert_allclose(film.images[-1], w)
    frame = frames_of(film.path)[0][-1]
    image = np.asarray(tiles_image(w / np.abs(w).max())).astype(int)
    assert frame.shape == image.shape
    assert np.abs(frame - image).mean() < 12  # the GIF has fewer colours
    red = np.asarray(tiles_image(np.where(w == w.max(), 1.0, 0.0)))
    assert (red == [255, 0, 0]).all(axis=-1).any() and (red == 255).all(axis=-1).any()


def test_what_is_drawn_by_itself():
    assert weight_tiles(model_of(nn.Conv2D(6, 5)).layers, (1, 8, 8)).shape == (6, 5, 5)
    assert weight_tiles(model_of().layers, (1, 8, 8)).shape == (
        2,
        8,
        8,
    )  # each unit's weights as an image
    rows = nn.Model([nn.Dense(3, input_shape=(4,))], seed=0)
    assert weight_tiles(rows.layers, (4,)).shape == (1, 4, 3)


def test_a_function_may_return_arrays(tmp_path):
    seen = iter(np.linspace(0, 1, 3))
    film = Film(tmp_path / "film.gif", lambda model: np.full((9, 7, 3), next(seen)))
    model_of().fit(X, Y, epochs=2, callbacks=[film], verbose=0)
    frames, _ = frames_of(film.path)
    assert [frame.shape for frame in frames] == [(9, 7, 3)] * 3
    assert [round(frame.mean() / 255, 1) for frame in frames] == [0, 0.5, 1]


def test_a_function_may_return_a_plot(tmp_path):
    pytest.importorskip("matplotlib", reason="needs matplotlib (the extra 'plot')")
    points = nn.data.make_moons(40, seed=0)
    model = nn.Model([nn.Dense(8, activation="tanh", input_shape=(2,)), nn.Dense(2)], seed=0)
    model.compile("cce", "adam", lr=0.05)
    film = Film(
        tmp_path / "film.gif",
        lambda model: nn.plot.decision_boundary(model, points, resolution=20),
    )
    model.fit(points, epochs=3, callbacks=[film], verbose=0)
    frames, _ = frames_of(film.path)
    assert len(frames) == 4 and np.abs(frames[0] - frames[-1]).mean() > 1


def test_it_does_not_change_the_training(tmp_path):
    histories = []
    for callbacks in ([], [Film(tmp_path / "film.gif", by="step")]):
        model = model_of(nn.Conv2D(4), nn.Dropout(0.5))
        histories.append(model.fit(X, Y, epochs=2, callbacks=callbacks, verbose=0)["loss"])
    assert histories[0] == histories[1]


def test_an_interrupted_training_leaves_a_film(tmp_path):
    def stop(epoch, logs):
        if epoch == 1:
            os.kill(os.getpid(), signal.SIGINT)

    film = Film(tmp_path / "film.gif")
    callbacks = [nn.callbacks.LambdaCallback(on_epoch_begin=stop), film]
    model_of().fit(X, Y, epochs=5, callbacks=callbacks, verbose=0)
    assert 2 <= len(frames_of(film.path)[0]) <= 3


def test_a_film_that_cannot_be_written_is_a_warning(tmp_path):
    film = Film(tmp_path / "nowhere" / "film.gif")
    with pytest.warns(RuntimeWarning, match=r"\[Film\] the film was not written"):
        model_of().fit(X, Y, epochs=1, callbacks=[film], verbose=0)
    assert not film.is_written
    film.path = tmp_path / "film.gif"
    model_of().fit(X, Y, epochs=1, callbacks=[film], verbose=0)
    assert film.is_written and film.path.exists()


@pytest.mark.parametrize(("arguments", "message"), [
    ({"path": "film.mp4"}, r"\[Film\] 'path' must end in .gif"),
    ({"draw": 3}, r"\[Film\] 'draw' must be a function"),
    ({"every": 0}, r"\[Film\] 'every' must be"),
    ({"by": "batch"}, r"\[Film\] 'by' must be one of"),
    ({"fps": 0}, r"\[Film\] 'fps' must be a positive"),
])  # fmt: skip
def test_wrong_arguments(arguments, message):
    with pytest.raises((ValueError, TypeError), match=message):
        Film(**arguments)


@pytest.mark.parametrize("drawn", [None, "text", np.zeros(3), np.zeros((2, 2, 4)), io.BytesIO()])
def test_what_is_no_image_is_refused(drawn, tmp_path):
    film = Film(tmp_path / "film.gif", lambda model: drawn)
    with pytest.raises(ValueError, match=r"\[Film\] 'draw' must return"):
        model_of().fit(X, Y, callbacks=[film], verbose=0)


def test_a_model_without_weights_needs_a_function(tmp_path):
    model = nn.Model([nn.Flatten(input_shape=(1, 8, 8))])
    model.compile("mse", "sgd")
    with pytest.raises(ValueError, match=r"\[Film\] 'draw' must be"):
        model.fit(X, X.reshape(20, -1), callbacks=[Film(tmp_path / "film.gif")], verbose=0)
