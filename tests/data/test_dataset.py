"""Dataset: what it accepts, how it splits, and batches that do not depend on threads."""

import copy
import gc
import pickle
import threading
import time
from pathlib import Path

import hypothesis
import hypothesis.strategies as st
import numpy as np
import pytest

import nn
from nn.data import Dataset, class_weights
from nn.data.rows import Rows


@pytest.fixture
def images(rng):
    """103 small images, each different, with labels of three classes."""
    x = rng.integers(0, 256, (103, 1, 4, 5), dtype=np.uint8)
    return Dataset(x, np.arange(103) % 3)


def data_threads():
    return [thread for thread in threading.enumerate() if thread.name.startswith("nn.data")]


# ---------------------------------------------------------------------------- construction


def test_keeps_bytes_as_bytes_and_does_not_copy_them():
    x = np.zeros((4, 2), dtype=np.uint8)
    assert np.shares_memory(Dataset(x).x, x)


def test_len_repr_and_classes(images):
    assert len(images) == 103
    text = "Dataset(103 samples of shape (1, 4, 5) and dtype uint8, 3 classes)"
    assert repr(images) == text
    assert repr(Dataset([[1.0], [2.0]], [0.5, 1.5])) == (
        "Dataset(2 samples of shape (1,) and dtype float64)"
    )


@pytest.mark.parametrize(
    ("y", "classes"),
    [
        ([0, 1, 4], 5),
        (np.array([False, True, True]), 2),
        (np.eye(3)[[0, 0, 1]], 3),
        (np.eye(3, dtype=int)[[0, 0, 1]], 3),
        ([-1, 1, 1], None),
        ([0.0, 1.0, 2.0], None),
        ([[0], [1], [2]], None),
        ([[0.5, 0.5], [1, 0], [0, 1]], None),
        ([[1, 1], [1, 0], [0, 1]], None),
        (None, None),
    ],
)
def test_num_classes(y, classes):
    assert Dataset(np.zeros((3, 2)), y).num_classes == classes


def test_class_names_count_the_classes():
    dataset = Dataset(np.zeros((2, 2)), [0, 1], class_names=["cat", "dog", "emu"])
    assert dataset.num_classes == 3
    assert dataset.class_names == ("cat", "dog", "emu")


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ({"x": np.zeros((0, 3))}, ValueError, r"'x' must hold at least one sample, got \(0, 3\)"),
        ({"x": 3.0}, ValueError, "'x' must have samples along its first axis"),
        ({"x": [[1, 2], [3]]}, ValueError, "'x' must be an array"),
        ({"x": np.array(["a", "b"])}, TypeError, "'x' must hold real numbers"),
        ({"x": np.array([None, 1])}, TypeError, "'x' must hold real numbers"),
        ({"x": np.zeros(2, dtype=complex)}, TypeError, "'x' must hold real numbers"),
        (
            {"x": np.zeros((100, 2)), "y": np.zeros(90)},
            ValueError,
            r"\[Dataset\] 'y' must have as many rows as x \(100\), got 90\.",
        ),
        ({"x": np.zeros((2, 2)), "y": [["a"], ["b"]]}, TypeError, "'y' must hold real numbers"),
        (
            {"x": np.zeros((2, 2)), "sample_weight": [1.0]},
            ValueError,
            r"'sample_weight' must have as many rows as x \(2\), got 1",
        ),
        (
            {"x": np.zeros((2, 2)), "sample_weight": [[1.0], [1.0]]},
            ValueError,
            r"'sample_weight' must have the shape \(2,\), .*, got \(2, 1\)",
        ),
        (
            {"x": np.zeros((2, 2)), "sample_weight": [1.0, -2.0]},
            ValueError,
            r"must be finite and not negative, got -2\.0",
        ),
        (
            {"x": np.zeros((2, 2)), "sample_weight": [1.0, np.nan]},
            ValueError,
            "must be finite and not negative, got nan",
        ),
        ({"x": np.zeros((2, 2)), "class_names": "ab"}, ValueError, "must be a list of names"),
        ({"x": np.zeros((2, 2)), "class_names": 2}, ValueError, "must be a list of names"),
        ({"x": np.zeros((2, 2)), "class_names": [1, 2]}, ValueError, "must be a list of names"),
        (
            {"x": np.zeros((2, 2)), "y": [0, 2], "class_names": ["a", "b"]},
            ValueError,
            "must name the 3 classes of 'y', got 2 names",
        ),
        (
            {"x": np.zeros((2, 2)), "y": np.eye(2), "class_names": ["a", "b", "c"]},
            ValueError,
            "must name the 2 classes of 'y', got 3 names",
        ),
    ],
)
def test_refuses_what_makes_no_sense(arguments, error, message):
    with pytest.raises(error, match=message):
        Dataset(**arguments)


def test_can_be_pickled_and_copied(images):
    iterator = images.batches(10, num_threads=2)
    next(iterator)
    for other in (pickle.loads(pickle.dumps(images)), copy.deepcopy(images)):
        np.testing.assert_array_equal(other.x, images.x)
        np.testing.assert_array_equal(other.y, images.y)
    iterator.close()


# ---------------------------------------------------------------------------------- arrays


def test_arrays_are_floats_from_0_to_1_and_new():
    x, y = np.array([[[[0, 51, 255]]]], dtype=np.uint8), np.array([2])
    dataset = Dataset(x, y)
    floats, labels = dataset.arrays()
    assert floats.dtype == np.float32
    np.testing.assert_array_equal(floats, np.float32([[[[0, 51, 255]]]]) / np.float32(255))
    floats[:], labels[:] = 9, 9
    assert x.tolist() == [[[[0, 51, 255]]]]
    assert y.tolist() == [2]


def test_arrays_leave_other_types_unscaled_and_new():
    x = np.array([[300.0, -1.5]], dtype=np.float32)
    floats, y = Dataset(x).arrays()
    assert y is None
    assert floats.dtype == np.float32
    np.testing.assert_array_equal(floats, x)
    assert not np.shares_memory(floats, x)
    assert Dataset([[1, 2]]).arrays()[0].dtype == np.float32


# ----------------------------------------------------------------------------------- split


@hypothesis.given(
    labels=st.lists(st.integers(0, 5), min_size=2, max_size=80),
    fraction=st.floats(0.01, 0.99),
    one_hot=st.booleans(),
    seed=st.integers(0, 100),
)
def test_split_shares_out_every_row_once_and_each_class_in_proportion(
    labels, fraction, one_hot, seed
):
    labels, n = np.array(labels), len(labels)
    size = round(fraction * n)
    hypothesis.assume(0 < size < n)
    y = np.eye(6)[labels] if one_hot else labels
    dataset = Dataset(np.arange(n)[:, np.newaxis], y, sample_weight=np.arange(n))
    rest, part = dataset.split(fraction, rng=np.random.default_rng(seed))

    assert (len(rest), len(part)) == (n - size, size)
    rows, others = part.x[:, 0], rest.x[:, 0]
    assert sorted([*rows, *others]) == list(range(n))
    for half in (rest, part):
        taken = half.x[:, 0]
        assert list(taken) == sorted(taken)
        np.testing.assert_array_equal(half.y, y[taken])
        np.testing.assert_array_equal(half.sample_weight, taken)
    quota = np.bincount(labels, minlength=6) * size / n
    got = np.bincount(labels[rows], minlength=6)
    assert (got >= np.floor(quota)).all()
    if 1 not in np.bincount(labels):  # a class's only sample stays, so another class gives more
        assert (got <= np.ceil(quota)).all()


def test_split_gives_the_samples_left_over_to_the_largest_remainders():
    # Shares of 3 rows: 2.1, 0.6 and 0.3, so the row left over goes to class 1.
    labels = np.repeat([0, 1, 2], [7, 2, 1])
    _, part = Dataset(np.zeros((10, 1)), labels).split(0.3)
    assert part.y.tolist() == [0, 0, 1]


def test_split_is_random_and_fixed_by_its_generator(images):
    first, again, other = (
        images.split(0.3, rng=np.random.default_rng(seed))[1].x for seed in (1, 1, 2)
    )
    np.testing.assert_array_equal(first, again)
    assert not np.array_equal(first, other)


def test_split_without_a_generator_is_fixed_by_the_seed_of_all(images):
    parts = []
    for _ in range(2):
        nn.seed(5)
        parts.append(images.split(0.3)[1].x)
    np.testing.assert_array_equal(*parts)


def test_split_without_stratifying_takes_any_rows():
    dataset = Dataset(np.arange(100)[:, np.newaxis], np.repeat([0, 1], 50))
    counts = {
        int(dataset.split(0.5, stratify=False, rng=np.random.default_rng(seed))[1].y.sum())
        for seed in range(20)
    }
    assert len(counts) > 1


def test_split_keeps_class_names_and_takes_targets_of_any_kind():
    names = [f"class {k}" for k in range(10)]
    dataset = Dataset(np.zeros((10, 1)), np.arange(10), class_names=names)
    assert dataset.split(0.5)[0].class_names == tuple(names)
    rest, part = Dataset(np.zeros((10, 1)), np.linspace(0, 1, 10)).split(0.2)
    assert (len(rest), len(part)) == (8, 2)
    assert len(Dataset(np.zeros((10, 1))).split(0.2)[1]) == 2


@pytest.mark.parametrize("fraction", [0, 1, -0.1, 1.5, "0.1", np.nan, 0.01, 0.999])
def test_split_refuses_an_empty_part(fraction):
    with pytest.raises(ValueError, match=r"\[Dataset\] 'fraction' must"):
        Dataset(np.zeros((10, 1))).split(fraction)


# --------------------------------------------------------------------------------- batches


def test_batches_cover_every_row_once_with_its_label_and_weight(images):
    dataset = Dataset(np.arange(103)[:, np.newaxis], np.arange(103), np.arange(103) / 2)
    seen = []
    for x, y, weight in dataset.batches(10):
        assert len(x) == len(y) == len(weight)
        assert x.dtype == weight.dtype == np.float32
        assert y.dtype == np.int64
        np.testing.assert_array_equal(x[:, 0], y)
        np.testing.assert_array_equal(weight * 2, y)
        seen.append(y)
    assert [len(y) for y in seen] == [10] * 10 + [3]
    seen = np.concatenate(seen)
    assert sorted(seen) == list(range(103))
    assert list(seen) != list(range(103))


def test_batches_are_scaled_as_arrays_are(images):
    whole = np.concatenate([x for x, _ in images.batches(16, shuffle=False)])
    assert whole.dtype == np.float32
    np.testing.assert_array_equal(whole, images.arrays()[0])
    np.testing.assert_array_equal(whole, images.x.astype(np.float32) / np.float32(255))


def test_batches_in_float64(images):
    dataset = Dataset(images.x, np.linspace(0, 1, 103, dtype=np.float32), np.ones(103))
    x, y, weight = next(dataset.batches(16, shuffle=False, dtype="float64"))
    assert x.dtype == y.dtype == weight.dtype == np.float64
    np.testing.assert_array_equal(x, images.x[:16] / 255)


def test_batches_without_targets(images):
    assert next(Dataset(images.x).batches(2))[1] is None


def test_batches_are_new_arrays():
    x, y = np.ones((4, 2), dtype=np.float32), np.ones(4, dtype=np.float32)
    for batch, targets in Dataset(x, y).batches(4, shuffle=False):
        batch[:], targets[:] = 0, 0
    assert x.all()
    assert y.all()


def test_batches_of_a_transposed_view(rng):
    channels_last = rng.integers(0, 256, (9, 4, 5, 3), dtype=np.uint8)
    dataset = Dataset(channels_last.transpose(0, 3, 1, 2))
    whole = np.concatenate([x for x, _ in dataset.batches(4, shuffle=False)])
    np.testing.assert_array_equal(whole, dataset.arrays()[0])


def noise(x, rng):
    return x + rng.random(x.shape)


@pytest.mark.parametrize("threads", [1, 2, 8, None])
def test_batches_do_not_depend_on_the_number_of_threads(images, threads):
    def run(num_threads):
        rng = np.random.default_rng(3)
        return list(images.batches(10, num_threads=num_threads, rng=rng, augment=noise))

    for (x, y), (x0, y0) in zip(run(threads), run(0), strict=True):
        np.testing.assert_array_equal(x, x0)
        np.testing.assert_array_equal(y, y0)


def test_batches_come_in_order_where_early_ones_take_longest():
    def slow_first(x):
        time.sleep(0.02 if x[0, 0] < 4 else 0)
        return x

    dataset = Dataset(np.arange(20)[:, np.newaxis])
    got = [x[:, 0] for x, _ in dataset.batches(2, False, slow_first, num_threads=4)]
    np.testing.assert_array_equal(np.concatenate(got), np.arange(20))


def test_each_batch_and_each_epoch_is_augmented_anew():
    dataset, rng = Dataset(np.zeros((4, 3))), np.random.default_rng(0)
    drawn = [x for _ in range(2) for x, _ in dataset.batches(2, rng=rng, augment=noise)]
    assert len({x.tobytes() for x in drawn}) == 4


def test_shuffling_without_a_generator_is_fixed_by_the_seed_of_all(images):
    orders = []
    for _ in range(2):
        nn.seed(5)
        orders.append([y.tolist() for _, y in images.batches(10)])
    assert orders[0] == orders[1]
    assert orders[0] != [y.tolist() for _, y in images.batches(10)]


def test_batches_in_order_touch_no_generator(images):
    rng = np.random.default_rng(0)
    list(images.batches(10, shuffle=False, rng=rng))
    assert rng.random() == np.random.default_rng(0).random()
    nn.seed(5)
    expected = nn.random.new_generator().random()
    nn.seed(5)
    list(images.batches(10, shuffle=False))
    assert nn.random.new_generator().random() == expected


def test_preprocess_gets_the_stored_bytes_in_place_of_the_scaling(images):
    types = set()

    def invert(x):
        types.add(x.dtype)
        x[:] = 255 - x
        return x

    before = images.x.copy()
    got = np.concatenate([x for x, _ in images.batches(10, False, preprocess=invert)])
    assert types == {np.dtype(np.uint8)}
    assert got.dtype == np.float32
    np.testing.assert_array_equal(got, 255 - before)
    np.testing.assert_array_equal(images.x, before)


def test_augment_gets_what_preprocess_made_and_may_change_it(images):
    def augment(x, rng):
        assert x.dtype == np.float32
        x += 1000
        return x

    got = next(images.batches(103, False, lambda x: x[:, :, ::2], augment=augment))[0]
    np.testing.assert_array_equal(got, images.x[:, :, ::2] + np.float32(1000))


@pytest.mark.parametrize("threads", [0, 1, 4])
def test_an_error_in_preprocess_names_the_batch_and_ends_the_threads(images, threads):
    def fails(x):
        if (x == images.x[45]).all(axis=(1, 2, 3)).any():
            raise KeyError("broken image")
        return x

    got = []
    message = r"\[Dataset\] batch 4 of 11 could not be prepared: KeyError: 'broken image'"
    with pytest.raises(RuntimeError, match=message) as caught:
        for x, _ in images.batches(10, False, fails, num_threads=threads):
            got.append(x)
    assert len(got) == 4
    assert isinstance(caught.value.__cause__, KeyError)
    assert not data_threads()


@pytest.mark.parametrize("argument", ["preprocess", "augment"])
@pytest.mark.parametrize("wrong", [lambda x, *_: x[:-1], lambda x, *_: x.sum(), lambda *_: None])
def test_functions_must_keep_the_rows(images, argument, wrong):
    with pytest.raises(RuntimeError, match=f"'{argument}' must return 10 rows"):
        next(images.batches(10, **{argument: wrong}))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"batch_size": 0}, r"'batch_size' must be a positive integer, got 0"),
        ({"batch_size": 2.5}, "'batch_size' must be a positive integer"),
        ({"batch_size": 2, "num_threads": -1}, "'num_threads' must be an integer of at least 0"),
        ({"batch_size": 2, "dtype": "int32"}, "'dtype' must be a type of floats, got 'int32'"),
        ({"batch_size": 2, "dtype": "quux"}, "'dtype' must be a type of floats, got 'quux'"),
        ({"batch_size": 2, "preprocess": 3}, "'preprocess' must be a function or None, got 3"),
        ({"batch_size": 2, "augment": "flip"}, "'augment' must be a function or None"),
        ({"batch_size": 2, "rng": 3}, "'rng' must be a numpy.random.Generator or None, got 3"),
    ],
)
def test_batches_check_their_arguments_at_the_call(images, arguments, message):
    with pytest.raises(ValueError, match=message):
        images.batches(**arguments)


# --------------------------------------------------------------------------------- threads


def test_leaving_early_ends_the_threads(images):
    for _ in images.batches(2, num_threads=3):
        assert data_threads()
        break
    gc.collect()  # where the loop variable alone does not end it
    assert not data_threads()

    iterator = images.batches(2, num_threads=3)
    next(iterator)
    iterator.close()
    assert not data_threads()

    iterator = images.batches(2, num_threads=3)
    next(iterator)
    del iterator
    gc.collect()
    assert not data_threads()


def test_the_end_of_the_batches_ends_the_threads(images):
    assert len(list(images.batches(2, num_threads=3))) == 52
    assert not data_threads()


def test_no_thread_starts_before_the_first_batch_or_without_threads(images):
    images.batches(2, num_threads=3)
    assert not data_threads()
    for _ in images.batches(2, num_threads=0):
        assert not data_threads()


def test_threads_start_where_there_is_work_for_them(images):
    for _ in images.batches(2):
        assert not data_threads()
    for _ in images.batches(2, augment=lambda x, rng: x):
        assert data_threads()
        break
    gc.collect()
    large = Dataset(np.zeros((8, 1 << 17), np.uint8))
    assert [len(data_threads()) > 0 for _ in large.batches(2)] == [False] * 4
    for _ in large.batches(3):
        assert data_threads()
        break
    gc.collect()
    assert not data_threads()


@pytest.mark.parametrize(("cores", "threads"), [(1, 1), (3, 3), (64, 8), (None, 1)])
def test_as_many_threads_as_cores_but_no_more_than_eight(monkeypatch, cores, threads):
    monkeypatch.setattr("os.cpu_count", lambda: cores)
    go_on = threading.Event()

    def wait(x):
        go_on.wait(10)  # seconds
        return x

    iterator = Dataset(np.zeros((20, 1))).batches(1, preprocess=wait)
    reader = threading.Thread(target=list, args=(iterator,))
    reader.start()
    deadline = time.monotonic() + 5
    while len(data_threads()) < threads and time.monotonic() < deadline:
        time.sleep(0.005)
    time.sleep(0.05)  # for one too many to show
    assert len(data_threads()) == threads
    go_on.set()
    reader.join()


def test_ctrl_c_while_waiting_ends_the_threads(images, monkeypatch):
    iterator = images.batches(2, num_threads=2)
    next(iterator)

    def interrupted(self, timeout=None):
        raise KeyboardInterrupt

    monkeypatch.setattr("concurrent.futures.Future.result", interrupted)
    with pytest.raises(KeyboardInterrupt):
        next(iterator)
    assert not data_threads()


def test_few_batches_wait_in_memory_and_the_next_are_prepared_ahead(images):
    prepared = []

    def count(x):
        prepared.append(len(x))
        return x

    iterator = images.batches(1, preprocess=count, num_threads=2)
    for _ in range(5):
        next(iterator)
    deadline = time.monotonic() + 5
    while len(prepared) < 7 and time.monotonic() < deadline:
        time.sleep(0.005)
    time.sleep(0.05)
    assert len(prepared) == 7  # five handed out, and two more
    iterator.close()


def test_shuffled_bytes_are_never_copied_whole():
    tracemalloc = pytest.importorskip("tracemalloc")
    dataset = Dataset(np.zeros((2000, 1, 64, 64), dtype=np.uint8))  # 8 MB
    tracemalloc.start()
    for _ in dataset.batches(20, num_threads=2):
        pass
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 4e6  # bytes; a batch of floats takes 0.33 MB


# ------------------------------------------------------------------ files larger than memory


@pytest.fixture
def mapped(images, tmp_path):
    """The same images in a file, which is mapped into memory."""
    np.save(tmp_path / "images.npy", images.x)
    x = np.load(tmp_path / "images.npy", mmap_mode="r")
    return Dataset(x, images.y, np.arange(103) / 7, class_names=["a", "b", "c"])


def test_a_mapped_array_stays_in_its_file(mapped, images):
    assert isinstance(mapped.x, np.memmap)
    np.testing.assert_array_equal(mapped.x, images.x)
    floats, _ = mapped.arrays()
    assert type(floats) is np.ndarray
    np.testing.assert_array_equal(floats, images.arrays()[0])


def test_all_samples_of_a_mapped_array_of_floats_are_in_memory(tmp_path):
    x = np.lib.format.open_memmap(tmp_path / "x.npy", "w+", np.float32, (4, 2))
    floats, _ = Dataset(x).arrays()
    assert type(floats) is np.ndarray
    floats[:] = 1
    assert not x.any()


def parts(dataset, seed=4):
    return dataset.split(0.3, rng=np.random.default_rng(seed))


def test_a_split_of_a_mapped_array_has_the_rows_of_one_in_memory(mapped, images):
    for part, expected in zip(parts(mapped), parts(images), strict=True):
        assert isinstance(part.x, Rows)
        assert part.x.array is mapped.x
        np.testing.assert_array_equal(part.x, expected.x)
        np.testing.assert_array_equal(part.y, expected.y)
        np.testing.assert_array_equal(part.arrays()[0], expected.arrays()[0])
        np.testing.assert_array_equal(
            mapped.x[(part.sample_weight * 7).round().astype(int)], expected.x
        )
        assert part.class_names == ("a", "b", "c")
        assert repr(part) == repr(Dataset(expected.x, expected.y))
        for _ in range(2):
            rng, rng0 = np.random.default_rng(1), np.random.default_rng(1)
            batches = zip(part.batches(8, rng=rng), expected.batches(8, rng=rng0), strict=True)
            for (x, y, _), (x0, y0) in batches:
                np.testing.assert_array_equal(x, x0)
                np.testing.assert_array_equal(y, y0)


def test_a_split_of_a_split_points_into_the_same_file(mapped, images):
    for part, expected in zip(parts(parts(mapped)[0], 5), parts(parts(images)[0], 5), strict=True):
        assert part.x.array is mapped.x
        np.testing.assert_array_equal(part.x, expected.x)


@pytest.mark.parametrize(
    "view",
    [
        np.asarray,
        lambda x: x[3:],
        lambda x: x.transpose(0, 3, 1, 2),
        lambda x: x.reshape(103, -1)[:],
    ],
)
def test_views_of_a_mapped_array_stay_in_the_file_too(mapped, view):
    dataset = Dataset(view(mapped.x))
    rest, part = parts(dataset)
    assert isinstance(rest.x, Rows)
    np.testing.assert_array_equal(part.x, view(np.array(mapped.x))[part.x.rows])


@pytest.mark.parametrize(
    "copied", [lambda x: x.copy(), lambda x: x[[3, 4, 5, 6]], lambda x: x + 1, np.array]
)
def test_copies_of_a_mapped_array_are_in_memory(mapped, copied):
    assert type(parts(Dataset(copied(mapped.x)))[0].x) is not Rows


@pytest.mark.parametrize(
    "key",
    [
        *(0, -1, np.int64(3), slice(None), slice(1, 5, 2), slice(5, 1, -1), [0, 0, 2]),
        *(np.array([4, 1]), np.arange(8) % 2 == 0, np.zeros(0, int), Ellipsis, None),
        *((2, 0), (slice(None), 0), (slice(2), slice(None), 1), ([0, 1], 0, [1, 2]), ()),
    ],
    ids=str,
)
def test_rows_are_indexed_as_the_array_that_they_stand_for(rng, key):
    array = rng.integers(0, 256, (20, 3, 4), dtype=np.uint8)
    rows = np.array([3, 19, 4, 4, 0, 7, 8, 11])
    got, expected = Rows(array, rows)[key], array[rows][key]
    np.testing.assert_array_equal(got, expected)
    assert type(got) is type(expected)
    assert not np.shares_memory(got, array)


def test_rows_answer_as_an_array_does(rng):
    array = rng.integers(0, 256, (20, 3, 4), dtype=np.uint8)
    rows = Rows(array, np.array([3, 19]))
    assert (rows.shape, rows.ndim, rows.dtype, len(rows)) == ((2, 3, 4), 3, np.uint8, 2)
    assert [image.shape for image in rows] == [(3, 4), (3, 4)]
    assert np.asarray(rows, dtype=np.float32).dtype == np.float32
    assert np.mean(rows) == array[[3, 19]].mean()
    assert repr(rows) == "Rows(2 of 20 of shape (3, 4), uint8)"
    with pytest.raises(IndexError):
        rows[2]
    with pytest.raises(
        ValueError, match=r"\[Rows\] cannot be converted to an array without a copy"
    ):
        rows.__array__(copy=False)


def test_a_dataset_of_rows_is_checked_as_any_other(mapped):
    rows = parts(mapped)[0].x
    assert Dataset(rows, np.zeros(72)).x is rows
    with pytest.raises(ValueError, match=r"as many rows as x \(72\), got 3"):
        Dataset(rows, [1, 2, 3])
    with pytest.raises(ValueError, match="'x' must hold at least one sample"):
        Dataset(Rows(mapped.x, np.zeros(103, dtype=bool)))


def test_a_mapped_array_is_never_copied_whole(tmp_path):
    tracemalloc = pytest.importorskip("tracemalloc")
    path = tmp_path / "large.npy"
    np.lib.format.open_memmap(path, "w+", np.uint8, (4000, 1, 64, 64))  # 16 MB of zeros
    tracemalloc.start()
    rest, part = Dataset(np.load(path, mmap_mode="r"), np.arange(4000) % 2).split(0.25)
    for half in (rest, part):
        for _ in half.batches(20, num_threads=2):
            pass
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 4e6  # bytes; a batch of floats takes 0.33 MB


def resident():
    """Bytes of memory that belong to this process, with the pages of files."""
    status = Path("/proc/self/status")
    if not status.exists():
        pytest.skip("needs /proc")
    line = next(line for line in status.read_text().splitlines() if line.startswith("VmRSS"))
    return int(line.split()[1]) * 1024


def test_the_process_does_not_grow_to_the_size_of_the_file(tmp_path):
    path = tmp_path / "large.npy"
    np.lib.format.open_memmap(path, "w+", np.uint8, (128, 1 << 20))  # 128 MB, a hole on the disk
    dataset = Dataset(np.load(path, mmap_mode="r"))
    parts = dataset.split(0.5)
    before = peak = resident()
    for half in (dataset, *parts):
        for _ in half.batches(2, num_threads=2, preprocess=lambda x: x[:, :1]):
            peak = max(peak, resident())
    assert peak - before < 50e6


def test_changes_to_a_private_mapping_are_not_lost(tmp_path):
    np.save(tmp_path / "x.npy", np.zeros((8, 1, 64, 64), np.uint8))
    x = np.load(tmp_path / "x.npy", mmap_mode="c")
    x[:] = 51
    dataset = Dataset(x)
    for _ in range(2):
        for batch, _ in dataset.batches(2):
            np.testing.assert_array_equal(batch, np.float32(0.2))
    np.testing.assert_array_equal(x, 51)


# -------------------------------------------------------------------------- class weights


@hypothesis.given(labels=st.lists(st.integers(0, 5), min_size=1, max_size=60))
def test_class_weights_let_every_class_count_the_same(labels):
    weights = class_weights(labels)
    assert set(weights) == set(labels)
    for label, weight in weights.items():
        assert type(label) is int
        assert type(weight) is float
        assert weight == pytest.approx(len(labels) / (len(set(labels)) * labels.count(label)))


@pytest.mark.parametrize(
    "labels",
    [
        np.array([0, 0, 0, 2], dtype=np.uint8),
        np.array([[0], [0], [0], [2]]),
        np.eye(3)[[0, 0, 0, 2]],
        np.eye(3, dtype=bool)[[0, 0, 0, 2]],
    ],
)
def test_class_weights_of_each_form_of_labels(labels):
    assert class_weights(labels) == {0: 2 / 3, 2: 2.0}


@pytest.mark.parametrize("labels", [np.array([False, True, True]), [[0.0], [1.0], [1.0]]])
def test_class_weights_of_yes_and_no(labels):
    assert class_weights(labels) == {0: 1.5, 1: 0.75}
    assert [type(label) for label in class_weights(labels)] == [int, int]


@pytest.mark.parametrize("labels", [[0.5, 1.5], [], [-1, 0], [[0, 1], [1, 1]], np.zeros((2, 3, 4))])
def test_class_weights_need_labels(labels):
    with pytest.raises(
        ValueError, match=r"\[class_weights\] 'labels' must be integers of at least"
    ):
        class_weights(labels)


def test_class_weights_of_no_numbers():
    with pytest.raises(TypeError, match=r"\[class_weights\] 'labels' must hold real numbers"):
        class_weights(["a", "b"])


def test_fit_takes_the_class_weights():
    x = np.random.default_rng(0).normal(size=(40, 3))
    y = np.repeat([0, 1], [36, 4])
    model = nn.Model([nn.Dense(2, input_shape=(3,))], seed=0)
    model.compile("cce", "sgd", lr=0.5)
    model.fit(x, y, epochs=100, batch_size=40, class_weight=class_weights(y), verbose=0)
    shift = model.predict(x)[:, 1] - model.predict(x)[:, 0]
    # At the optimum of weighted logistic regression the predicted shares are the weighted ones.
    share = 1 / (1 + np.exp(-shift))
    weights = np.array([class_weights(y)[label] for label in y])
    assert np.average(share, weights=weights) == pytest.approx(0.5, abs=0.02)


def test_fit_never_reads_a_mapped_set_whole(tmp_path, rng, monkeypatch):
    np.save(tmp_path / "x.npy", rng.integers(0, 256, (60, 1, 4, 4), dtype=np.uint8))
    dataset = Dataset(np.load(tmp_path / "x.npy", mmap_mode="r"), np.arange(60) % 3)

    def read_whole(*_, **__):
        raise AssertionError("all rows were read at once")

    monkeypatch.setattr(Rows, "__array__", read_whole)
    model = nn.Model([nn.Flatten(input_shape=(1, 4, 4)), nn.Dense(3)], seed=0)
    model.compile("cce")
    weights = class_weights(dataset.y)
    model.fit(dataset, epochs=2, validation_split=0.25, class_weight=weights, verbose=0)
    rest, part = dataset.split(0.5)
    assert isinstance(part.x, Rows)
    assert model.evaluate(part)["loss"] > 0
    assert model.predict(rest, batch_size=7).shape == (30, 3)


def test_a_split_leaves_the_only_sample_of_a_class_in_the_rest(rng):
    y = np.concatenate([np.arange(10), np.full(20, 10)])  # ten classes of one sample
    data = nn.Dataset(np.arange(30.0)[:, np.newaxis], y)
    rest, part = data.split(0.2, rng=rng)
    assert set(rest.y) == set(range(11))
    assert part.y.tolist() == [10] * 6
    alone = nn.Dataset(np.arange(4.0)[:, np.newaxis], np.arange(4))  # here there is no other way
    assert [len(dataset) for dataset in alone.split(0.5)] == [2, 2]
