"""Images of digits of all kinds become what MNIST would have made of them."""

import io

import numpy as np
import pytest

import nn
from nn.data import normalize_digit, normalize_digits
from nn.data.images import digits

Image = pytest.importorskip("PIL.Image", reason="needs Pillow, the extra 'images'")


def painted(shape, *boxes):
    """Return ink 1 in boxes (top, bottom, left, right) on paper 0."""
    ink = np.zeros(shape, dtype=np.float32)
    for top, bottom, left, right in boxes:
        ink[top:bottom, left:right] = 1
    return ink


def seven(height=280, width=280, top=60, left=90, scale=1.0, stroke=18):
    """Return the ink of an angular 7, 100 wide and 150 tall where the scale is 1."""
    wide, tall = round(100 * scale), round(150 * scale)
    return painted(
        (height, width),
        (top, top + stroke, left, left + wide),
        (top, top + tall, left + wide - stroke, left + wide),
    )


def centre_of_mass(image):
    rows, cols = np.indices(image.shape)
    return (image * rows).sum() / image.sum(), (image * cols).sum() / image.sum()


def extent(image, above=0.3):
    """Return height and width of what is inked."""
    rows, cols = np.nonzero(image > above)
    return int(np.ptp(rows)) + 1, int(np.ptp(cols)) + 1


def assert_like_mnist(digit):
    assert digit.shape == (28, 28) and digit.dtype == np.float32
    assert digit.min() >= 0 and digit.max() == 1
    np.testing.assert_allclose(centre_of_mass(digit), (14, 14), atol=0.55)
    assert 19 <= max(extent(digit)) <= 22


# ------------------------------------------------------------------------- place, size, strokes


@pytest.mark.parametrize("top, left", [(0, 0), (60, 90), (130, 180), (3, 170)])
def test_a_shifted_digit_is_the_same(top, left):
    expected = normalize_digit(seven())
    got = normalize_digit(seven(top=top, left=left))
    np.testing.assert_allclose(got, expected, atol=1e-4)
    assert_like_mnist(got)


@pytest.mark.parametrize("scale, stroke", [(0.25, 4), (0.5, 9), (1.5, 27)])
def test_a_scaled_digit_is_nearly_the_same(scale, stroke):
    got = normalize_digit(seven(top=5, left=5, scale=scale, stroke=stroke))
    assert_like_mnist(got)
    assert np.abs(got - normalize_digit(seven())).mean() < 0.03


@pytest.mark.parametrize("stroke", [1, 2, 4, 8])
def test_thin_strokes_become_as_wide_and_dark_as_those_of_mnist(stroke):
    digit = normalize_digit(seven(stroke=stroke))
    assert_like_mnist(digit)
    upright = digit[14]  # a row through the stem alone
    assert upright.max() > 0.8
    assert 1.5 <= upright.sum() <= 3.2  # pixels of ink across it


@pytest.mark.parametrize("stroke", [30, 45])
def test_thick_strokes_stay_thick(stroke):
    digit = normalize_digit(seven(stroke=stroke))
    assert_like_mnist(digit)
    assert digit[18].sum() == pytest.approx(stroke * 20 / 150, abs=1.2)


@pytest.mark.parametrize("height, width", [(40, 10), (10, 40), (60, 50), (200, 20)])
def test_proportions_are_kept(height, width):
    got = extent(normalize_digit(painted((260, 240), (20, 20 + height, 30, 30 + width))), 0.5)
    scale = 20 / max(height, width)
    assert got == pytest.approx((height * scale, width * scale), abs=1.01)


def test_a_shape_out_of_balance_stays_inside():
    """Its centre of mass is so low that, were it in the middle, the top would be cut off."""
    ink = painted((200, 200), (20, 160, 95, 105), (125, 160, 40, 160))
    digit = normalize_digit(ink)
    assert extent(digit)[0] >= 19
    mass = centre_of_mass(digit)
    assert mass[0] > 14.6 and mass[1] == pytest.approx(14, abs=0.55)


# ----------------------------------------------------------------------- paper, light and noise


def test_dark_on_light_and_light_on_dark_are_the_same():
    ink = seven()
    expected = normalize_digit(ink)
    for image in (1 - ink, 0.9 - 0.7 * ink, 0.2 + 0.5 * ink, 0.45 + 0.15 * ink):
        np.testing.assert_allclose(normalize_digit(image), expected, atol=1e-4)


def test_ink_may_cover_more_than_half_as_long_as_the_border_is_paper():
    ink = painted((100, 100), (10, 90, 12, 88))
    np.testing.assert_allclose(normalize_digit(1 - ink), normalize_digit(ink), atol=1e-4)
    assert normalize_digit(ink).sum() == pytest.approx(20 * 19, rel=0.05)


def test_ink_may_touch_the_border():
    ink = seven(150, 100, top=0, left=0)  # it fills the image, and half of the border
    np.testing.assert_allclose(normalize_digit(1 - ink), normalize_digit(seven()), atol=1e-4)


def test_noise_and_uneven_light_leave_the_digit_alone(rng):
    ink = seven()
    rows, cols = np.indices(ink.shape) / 280
    photo = 0.85 - 0.3 * rows - 0.15 * cols - 0.35 * ink + rng.normal(0, 0.02, ink.shape)
    got = normalize_digit(photo.clip(0, 1))
    assert_like_mnist(got)
    assert np.abs(got - normalize_digit(ink)).mean() < 0.02


def test_specks_are_dropped_and_dots_that_belong_to_it_are_not(rng):
    ink = seven()
    dusty = ink.copy()
    dusty[rng.integers(0, 280, 12), rng.integers(0, 280, 12)] = 1
    np.testing.assert_allclose(normalize_digit(dusty), normalize_digit(ink), atol=0.1)
    in_two = painted((280, 280), (40, 120, 100, 120), (135, 220, 100, 120))
    assert extent(normalize_digit(in_two))[0] >= 19
    assert normalize_digit(in_two)[13:15].min() == 0


@pytest.mark.parametrize("value", [0.0, 0.3, 1.0])
def test_an_empty_image_is_all_paper(value, rng):
    flat = np.full((50, 40), value)
    noisy = (flat + rng.uniform(-0.03, 0.03, flat.shape)).clip(0, 1)
    for image in (flat, noisy, np.full((1, 1), value), np.full((4, 50, 40), value)[:3]):
        digit = normalize_digit(image)
        assert digit.shape == (28, 28) and digit.dtype == np.float32
        assert not digit.any()


@pytest.mark.parametrize("shape, place", [((28, 28), (0, 0)), ((99, 7), (50, 3)), ((3, 3), (1, 1))])
def test_one_pixel_is_a_square_in_the_middle(shape, place):
    ink = np.zeros(shape, dtype=bool)
    ink[place] = True
    for image in (ink, ~ink):
        assert_like_mnist(normalize_digit(image))


@pytest.mark.parametrize("shape", [(1, 2), (2, 1), (1, 300), (300, 1), (2, 2)])
def test_the_smallest_and_thinnest_images_do_no_harm(shape):
    image = np.zeros(shape)
    image[0, 0] = 1
    digit = normalize_digit(image)
    assert digit.shape == (28, 28) and np.isfinite(digit).all()


# ------------------------------------------------------------------------------ forms and files


def test_every_form_of_an_array_is_read_alike():
    ink = seven()
    expected = normalize_digit(ink)
    whole = (ink * 255).astype(np.uint8)
    colours = np.stack([whole] * 3)
    opaque = np.concatenate([colours, np.full_like(colours[:1], 255)])
    forms = [ink > 0, ink.astype(np.float64), whole, whole[np.newaxis], whole[..., np.newaxis]]
    forms += [colours, colours.transpose(1, 2, 0), opaque, opaque.transpose(1, 2, 0), ink.tolist()]
    for form in forms:
        np.testing.assert_allclose(normalize_digit(form), expected, atol=1e-5)


def test_the_argument_is_not_changed():
    image = 1 - seven()
    before = image.copy()
    normalize_digit(image)
    np.testing.assert_array_equal(image, before)


def test_colours_count_by_their_brightness():
    blue_on_yellow = np.empty((280, 280, 3))
    blue_on_yellow[...] = (1, 1, 0.3)
    blue_on_yellow[seven() > 0] = (0.1, 0.1, 0.8)
    np.testing.assert_allclose(normalize_digit(blue_on_yellow), normalize_digit(seven()), atol=1e-4)


@pytest.mark.parametrize("value", [0, 255])
def test_what_is_transparent_is_paper_whatever_the_colour_of_the_ink(value, tmp_path):
    ink = seven()
    clear = np.full((280, 280, 4), value, dtype=np.uint8)
    clear[..., 3] = 255 * ink
    np.testing.assert_allclose(normalize_digit(clear), normalize_digit(ink), atol=1e-4)
    Image.fromarray(clear).save(tmp_path / "clear.png")
    np.testing.assert_allclose(
        normalize_digit(tmp_path / "clear.png"), normalize_digit(ink), atol=1e-4
    )


@pytest.mark.parametrize("mode", ["L", "RGB", "RGBA", "P", "1", "I;16"])
def test_a_file_is_read_as_its_array(mode, tmp_path):
    ink = seven(300, 220)
    grey = (255 * (1 - ink)).astype(np.uint8)
    if mode == "I;16":
        image = Image.fromarray(grey.astype(np.uint16) * 257)
    else:
        image = Image.fromarray(grey).convert(mode)
    image.save(tmp_path / "digit.png")
    np.testing.assert_allclose(
        normalize_digit(tmp_path / "digit.png"), normalize_digit(ink), atol=0.01
    )


def test_a_file_that_lies_on_its_side_is_set_upright(tmp_path):
    image = Image.fromarray((255 * (1 - seven(300, 220))).astype(np.uint8))
    tags = Image.Exif()
    tags[0x0112] = 6  # to be turned a quarter clockwise
    image.transpose(Image.Transpose.ROTATE_90).save(tmp_path / "digit.png", exif=tags)
    got = digits.read_grey(str(tmp_path / "digit.png"))
    assert got.shape == (300, 220)
    np.testing.assert_allclose(
        normalize_digit(1 - got), normalize_digit(seven(300, 220)), atol=0.01
    )


def test_huge_images_are_read_too(tmp_path):
    expected = normalize_digit(seven())
    huge = np.kron(seven() > 0, np.ones((11, 11), dtype=bool))  # 3080 x 3080
    assert np.abs(normalize_digit(huge) - expected).mean() < 0.01
    Image.fromarray(~huge).save(tmp_path / "huge.png")
    assert digits.read_grey(tmp_path / "huge.png").shape == (800, 800)
    assert np.abs(normalize_digit(tmp_path / "huge.png") - expected).mean() < 0.01


def test_a_batch_is_its_images_one_by_one(tmp_path):
    images = [seven(), 1 - seven(100, 120, 10, 10, 0.5, 6), np.zeros((5, 5))]
    Image.fromarray((255 * seven()).astype(np.uint8)).save(tmp_path / "digit.png")
    batch = normalize_digits([*images, tmp_path / "digit.png"])
    assert batch.shape == (4, 1, 28, 28) and batch.dtype == np.float32
    for got, image in zip(batch, images, strict=False):
        np.testing.assert_array_equal(got[0], normalize_digit(image))
    np.testing.assert_allclose(batch[3], batch[0], atol=1e-4)
    assert normalize_digits([]).shape == (0, 1, 28, 28)


@pytest.mark.parametrize(
    "image, error, message",
    [
        (np.zeros((2, 5, 5)), ValueError, r"'image' must be \(H, W\), .* got \(2, 5, 5\)"),
        (np.zeros((2, 1, 5, 5)), ValueError, r"must be \(H, W\), .* got \(2, 1, 5, 5\)"),
        (np.zeros(5), ValueError, r"got \(5,\)"),
        (np.zeros((0, 5)), ValueError, r"got \(0, 5\)"),
        (np.full((5, 5), 255.0), ValueError, r"values in \[0, 1\] .* got 255 to 255"),
        (np.full((5, 5), -0.1), ValueError, r"got -0.1 to -0.1"),
        (np.full((5, 5), np.nan), ValueError, r"got nan to nan"),
        (np.zeros((5, 5), dtype=int), TypeError, r"uint8, bool or floats .* got int64"),
        (np.full((5, 5), "7"), TypeError, r"got <U1"),
        (None, TypeError, r"got object"),
    ],
)
def test_what_is_no_image_is_named(image, error, message):
    with pytest.raises(error, match=r"\[normalize_digit\] " + ".*" + message):
        normalize_digit(image)


def test_what_is_no_image_file_is_named(tmp_path):
    text = tmp_path / "note.txt"
    text.write_text("seven")
    with pytest.raises(ValueError, match=r"cannot decode '.*note.txt'"):
        normalize_digit(text)
    with pytest.raises(FileNotFoundError, match=r"'.*gone.png': there is no file"):
        normalize_digit(str(tmp_path / "gone.png"))
    with pytest.raises(TypeError, match=r"'images' must be several images, got '.*note.txt'"):
        normalize_digits(text)


# ---------------------------------------------------------------------------------- MNIST itself


def test_mnist_has_its_centre_of_mass_where_we_put_it(sample):
    """And its box and its strokes: the constants of the module are measured here."""
    images = sample[0].x[:500, 0] / np.float32(255)
    middle = np.mean([centre_of_mass(image) for image in images], axis=0)
    np.testing.assert_allclose(middle, digits.CENTRE, atol=0.05)
    assert np.median([max(extent(image, 0.1)) for image in images]) == digits.BOX
    widths = [digits._stroke_width(image) for image in images]
    assert np.median(widths) == pytest.approx(2.5, abs=0.1)


def test_digits_of_mnist_stay_nearly_what_they_are(sample):
    images = sample[1].x[:100, 0] / np.float32(255)
    once = normalize_digits(images)[:, 0]
    twice = normalize_digits(once)[:, 0]
    assert np.abs(once - images).mean() < 0.02
    assert np.abs(twice - once).mean() < 0.02
    for image in once:
        np.testing.assert_allclose(centre_of_mass(image), (14, 14), atol=0.55)


def test_a_network_reads_normalized_digits_as_well_as_the_originals(sample):
    train, test = sample
    model = nn.zoo.mlp((64,), seed=0)  # it sees where each pixel is, and forgives nothing
    model.compile("categorical_crossentropy", "adam", lr=2e-3)
    model.fit(train, epochs=5, batch_size=64, verbose=0)
    images, labels = test.x[:500, 0], test.y[:500]
    original = (model.predict_classes(test)[:500] == labels).mean()
    assert original > 0.85
    elsewhere = np.pad(images // 2 + 40, ((0, 0), (30, 9), (2, 50)), constant_values=40)
    for changed in (images, 255 - elsewhere):
        got = (model.predict_classes(normalize_digits(changed)) == labels).mean()
        assert got >= original - 0.01


def test_open_files_and_images_of_pillow_are_read_as_files_are():
    grey = Image.new("L", (100, 100), 255)
    grey.paste(0, (46, 15, 54, 85))
    stream = io.BytesIO()
    grey.save(stream, "PNG")
    expected = normalize_digit(np.asarray(grey))
    assert expected.max() > 0.9
    palette = grey.convert("RGB").quantize(4)  # its array has indices of colours
    for image in (grey, palette, stream):
        np.testing.assert_allclose(normalize_digit(image), expected, atol=0.05)
    np.testing.assert_array_equal(
        nn.data.load_image(stream, size=8), nn.data.load_image(grey, size=8)
    )
    with pytest.raises(TypeError, match=r"\[load_image\] 'path' .*, got int"):
        nn.data.load_image(3)
