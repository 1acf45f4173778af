"""Argument checks: what passes, in which type, and how the errors read."""

import numpy as np
import pytest

import nn
from nn import checks, validation


@pytest.mark.parametrize(
    ("check", "good", "expected"),
    [
        (checks.positive_int, np.int64(3), 3),
        (checks.non_negative_int, 0, 0),
        (checks.positive, np.float32(0.5), 0.5),
        (checks.non_negative, 0, 0.0),
        (checks.fraction, 0.25, 0.25),
        (checks.pair, [2, 3], (2, 3)),
        (checks.pair, np.int32(2), (2, 2)),
    ],
)
def test_good_values_come_back_as_pythons_own(check, good, expected):
    value = check("Owner", "argument", good)
    assert value == expected
    assert type(value) is type(expected)


@pytest.mark.parametrize(
    ("check", "bad"),
    [
        (checks.positive_int, [0, -1, 1.0, True, "1", None]),
        (checks.non_negative_int, [-1, 0.0, False]),
        (checks.positive, [0, -1, float("nan"), float("inf"), "1", True]),
        (checks.non_negative, [-1e-9, float("nan"), float("inf")]),
        (checks.fraction, [1, -0.1, 1.1, float("nan"), "0.5"]),
        (checks.pair, [0, (1, 0), (1, 2, 3), 1.5, "ab", None, (1.0, 2.0)]),
    ],
)
def test_bad_values_are_named(check, bad):
    for value in bad:
        with pytest.raises(ValueError, match=r"^\[Owner\] 'argument' must be") as error:
            check("Owner", "argument", value)
        assert str(error.value).endswith(f", got {value!r}.")


def test_a_fraction_may_include_one():
    assert checks.fraction("Owner", "argument", 1, include_one=True) == 1.0


def test_unknown_names_without_a_near_one():
    error = checks.unknown("Owner", "argument", "zzz", ["alpha"])
    assert str(error) == "[Owner] 'argument' must be one of 'alpha', got 'zzz'."


def test_the_row_of_a_value_that_is_not_finite_is_named():
    x = np.zeros((10_000, 2))
    x[7_654, 1] = np.inf
    with pytest.raises(ValueError, match="in row 7654"):
        validation.check_finite(x, "x")
    validation.check_finite(np.zeros((2, 2), dtype=np.uint8), "x")


def test_class_weights_of_rows_and_labels():
    weights = {0: 2.0, 2: 0.5}
    labels = np.array([0, 1, 2, 2])
    for y in (labels, np.eye(3)[labels], labels.astype(np.uint8), labels[:, None]):
        assert validation.weights_of_classes(weights, y).tolist() == [2, 1, 0.5, 0.5]
    with pytest.raises(ValueError, match="needs integer or one-hot labels"):
        validation.weights_of_classes(weights, np.array([0.5, 1.0]))


def test_large_arrays_and_tables_are_not_printed_in_messages():
    pandas = pytest.importorskip("pandas")
    x = np.zeros((64, 3, 32, 32), np.float32)
    with pytest.raises(
        ValueError, match=r"got an array of shape \(64, 3, 32, 32\) and dtype float32"
    ):
        nn.zoo.airbench94(x)
    with pytest.raises(TypeError, match=r"got a DataFrame of shape \(30, 2\)"):
        nn.Model.load(pandas.DataFrame(np.zeros((30, 2))))
    assert checks.shown(np.ndarray) == "<class 'numpy.ndarray'>"
    assert checks.shown(np.arange(3)) == "array([0, 1, 2])"
