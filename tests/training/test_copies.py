"""Test-time augmentation: which copies there are, what they count, and what they are not for."""

import numpy as np
import pytest

import nn
from nn.data import Dataset


@pytest.fixture
def model():
    return nn.zoo.small_cnn(input_shape=(2, 8, 9), num_classes=3, seed=0)


@pytest.fixture
def images(rng):
    return rng.random((7, 2, 8, 9), dtype="float32")


def padded_crops(x, step):
    """The two copies as the paper makes them: crops at the corners of a reflect-padded image."""
    height, width = x.shape[2:]
    padded = np.pad(x, ((0, 0), (0, 0), (step, step), (step, step)), "reflect")
    end = 2 * step
    return padded[:, :, :height, :width], padded[:, :, end : end + height, end : end + width]


@pytest.mark.parametrize("step", [1, 3])
@pytest.mark.parametrize("flip", [False, True])
def test_the_mean_is_that_of_the_papers_copies(model, images, step, flip):
    def outputs(x):
        y = model.predict(x)
        return (y + model.predict(x[:, :, :, ::-1])) / 2 if flip else y

    first, second = (outputs(crop) for crop in padded_crops(images, step))
    expected = 0.5 * outputs(images) + 0.5 * (first + second) / 2
    found = model.predict(images, augment="flip" if flip else None, shifts=step)
    np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-6)
    assert found.dtype == images.dtype
    assert not np.allclose(found, model.predict(images), atol=1e-5)


def test_a_mirrored_image_has_the_same_mean(model, images):
    flipped = images[:, :, :, ::-1]
    np.testing.assert_allclose(
        model.predict(images, augment="flip"), model.predict(flipped, augment="flip"), atol=1e-6
    )


def test_all_kinds_of_inputs_have_copies(model, images):
    expected = model.predict(images, augment="flip", shifts=1)
    for data in (Dataset(images), [images[:4], images[4:]]):
        found = model.predict(data, augment="flip", shifts=1)
        np.testing.assert_allclose(found, expected, atol=1e-6)
    found = model.predict(images, batch_size=2, augment="flip", shifts=1)
    np.testing.assert_allclose(found, expected, atol=1e-6)
    as_bytes = (images * 255).astype("uint8")
    np.testing.assert_allclose(
        model.predict(as_bytes, augment="flip"), model.predict(as_bytes / 255, augment="flip"),
        atol=1e-5,
    )  # fmt: skip


def test_classes_and_probabilities_of_the_mean(model, images):
    model.compile("cce")
    outputs = model.predict(images, augment="flip", shifts=2)
    classes = model.predict_classes(images, augment="flip", shifts=2)
    np.testing.assert_array_equal(classes, outputs.argmax(axis=1))
    exponents = np.exp(outputs - outputs.max(axis=1, keepdims=True))
    np.testing.assert_allclose(
        model.predict_proba(images, augment="flip", shifts=2),
        exponents / exponents.sum(axis=1, keepdims=True),
        rtol=1e-5,
    )


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"augment": "flipped"}, r"\[Model\] 'augment' must be 'flip' or None, got 'flipped'"),
        ({"augment": True}, r"\[Model\] 'augment' must be 'flip' or None, got True"),
        ({"shifts": -1}, r"\[Model\] 'shifts' .* got -1"),
        ({"shifts": 1.5}, r"\[Model\] 'shifts' .* got 1\.5"),
        ({"shifts": 8}, r"\[Model\] 'shifts' must be smaller than the images, .* 8 pixels, got 8"),
    ],
)
def test_wrong_arguments_are_errors(model, images, arguments, message):
    with pytest.raises(ValueError, match=message):
        model.predict(images, **arguments)


def test_copies_of_what_is_no_image_or_of_outputs_that_move_are_errors(rng):
    table = nn.zoo.mlp((4,), input_shape=(5,), num_classes=2, seed=0)
    with pytest.raises(ValueError, match=r"'augment' needs images \(N, C, H, W\), .*\(None, 5\)"):
        table.predict(rng.random((3, 5)), augment="flip")
    with pytest.raises(ValueError, match=r"'shifts' needs images"):
        table.predict(rng.random((3, 5)), shifts=1)
    pixels = nn.zoo.unet_small(input_shape=(1, 8, 8), num_classes=2, seed=0)
    with pytest.raises(ValueError, match=r"'augment' needs outputs \(N, K\) to average"):
        pixels.predict(rng.random((2, 1, 8, 8)), augment="flip")
    with pytest.raises(TypeError, match="augmentation"):
        table.predict_classes(rng.random((3, 5)), augmentation="flip")
