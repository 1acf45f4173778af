"""Images of digits that are doubtful: empty sheets, several digits, squared paper."""

import numpy as np
import pytest

import nn
from nn.data import doubts_of_digit

pytest.importorskip("PIL", reason="needs Pillow (the extra 'images')")

EMPTY, MANY, LINES = "no ink", "more than one digit", "lines run across"


def trimmed(digit):
    """Return a digit without its empty columns."""
    return digit[:, np.flatnonzero(digit.any(axis=0))]


def paper(rng, spacing=None, contrast=0.3, ruled=False, digit=None, size=400):
    """Return a photograph of paper, turned by up to six degrees, lit from one side."""
    rows, cols = np.mgrid[:size, :size].astype(float)
    angle = np.deg2rad(rng.uniform(-6, 6))
    across = rows * np.cos(angle) - cols * np.sin(angle)
    along = rows * np.sin(angle) + cols * np.cos(angle)
    sheet = 0.92 - 0.1 * cols / size
    if spacing:
        lines = np.abs(across % spacing - spacing / 2) < 1
        if not ruled:
            lines |= np.abs(along % spacing - spacing / 2) < 1
        sheet[lines] -= contrast
    if digit is not None:
        ink = np.zeros_like(sheet)
        ink[60:340, 60:340] = digit.repeat(10, axis=0).repeat(10, axis=1) / 255
        sheet = sheet * (1 - ink) + 0.12 * ink
    return np.clip(sheet + rng.normal(0, 0.01, sheet.shape), 0, 1)


def test_digits_of_mnist_are_hardly_ever_doubted(sample):
    images = np.concatenate([part.x for part in sample])
    doubted = sum(bool(doubts_of_digit(image)) for image in images)
    assert doubted <= 5  # of 5,000; the page on the command line says 3


def test_two_digits_are_noticed(sample):
    _, test = sample
    rng = np.random.default_rng(0)
    found = 0
    for _ in range(200):
        first, second = (trimmed(test.x[k, 0]) for k in rng.integers(0, len(test.x), 2))
        gap = np.zeros((28, rng.integers(0, 12)), np.uint8)
        pair = np.pad(np.concatenate([first, gap, second], axis=1), 8)
        reasons = doubts_of_digit(pair.repeat(6, axis=0).repeat(6, axis=1))
        found += any(MANY in reason for reason in reasons)
    assert found >= 170


@pytest.mark.parametrize("ruled", [False, True])
def test_squared_and_ruled_paper_is_noticed(ruled, sample):
    rng = np.random.default_rng(1)
    for k in range(20):
        sheet = paper(rng, rng.integers(25, 60), 0.25, ruled, sample[1].x[k, 0])
        assert [LINES in reason for reason in doubts_of_digit(sheet)] == [True]


def test_an_empty_sheet_is_noticed_and_a_photograph_of_a_digit_is_not_doubted(sample):
    rng = np.random.default_rng(2)
    doubted = 0
    for k in range(20):
        [reason] = doubts_of_digit(paper(rng))
        assert EMPTY in reason
        doubted += bool(doubts_of_digit(paper(rng, digit=sample[1].x[k, 0])))
    assert doubted <= 1


def test_a_stroke_from_edge_to_edge_is_one_digit():
    sheet = np.full((100, 60), 0.9)
    sheet[:, 28:34] = 0.1
    assert doubts_of_digit(sheet) == []


def test_errors_are_those_of_normalize_digit(tmp_path):
    for wrong in (tmp_path / "none.png", np.zeros(3), "x" * 3):
        with pytest.raises((OSError, ValueError)) as first:
            nn.data.normalize_digit(wrong)
        with pytest.raises(first.type):
            doubts_of_digit(wrong)
