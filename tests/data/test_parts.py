"""The rows of a batch that one of several processes trains on."""

import numpy as np
import pytest

from nn.data import BatchPart, Dataset, augment
from nn.data.samples import SampleBatches
from nn.data.stream import Stream


def joined(parts):
    """Return the whole batches of the parts of all processes, without rows for nothing."""
    found = []
    for batches in zip(*parts, strict=True):
        total, size = batches[0].total, len(batches)
        assert {batch.total for batch in batches} == {total}
        kept = [b for k, b in enumerate(batches) if total * k // size < total * (k + 1) // size]
        found.append(tuple(np.concatenate(arrays) for arrays in zip(*kept, strict=True)))
    return found


def assert_same(parts, whole):
    for ours, theirs in zip(joined(parts), whole, strict=True):
        for a, b in zip(ours, theirs, strict=True):
            np.testing.assert_array_equal(a, b)


@pytest.mark.parametrize("size", [1, 2, 3, 5])
@pytest.mark.parametrize("weights", [None, np.arange(11.0)])
def test_parts_of_a_dataset_are_its_batches(size, weights, rng):
    data = Dataset(rng.random((11, 3)), np.arange(11) % 2, weights)

    def batches(**options):
        return list(data.batches(4, rng=np.random.default_rng(0), **options))

    assert_same([batches(part=(k, size)) for k in range(size)], batches())


@pytest.mark.parametrize("mixing", [False, True])
def test_augmented_parts_are_those_of_the_augmented_batch(mixing, rng):
    data = Dataset(rng.random((9, 1, 4, 4)), np.eye(3)[np.arange(9) % 3])
    change = augment.Mixup(0.3) if mixing else augment.RandomFlip()

    def batches(**options):
        return list(data.batches(4, rng=np.random.default_rng(0), augment=change, **options))

    assert_same([batches(part=(k, 3)) for k in range(3)], batches())


def test_a_process_without_rows_gets_the_first_row(rng):
    data = Dataset(np.arange(2.0).reshape(2, 1), np.arange(2))
    parts = [next(data.batches(2, shuffle=False, part=(k, 3))) for k in range(3)]
    assert [part[0].ravel().tolist() for part in parts] == [[0.0], [0.0], [1.0]]


def test_a_process_reads_its_rows_of_a_file_alone(tmp_path, monkeypatch, rng):
    np.save(tmp_path / "x.npy", rng.random((40, 3)))
    read, true = [], np.memmap.__getitem__

    def noted(self, rows):
        read.extend(np.atleast_1d(rows).tolist() if isinstance(rows, np.ndarray) else [])
        return true(self, rows)

    data = Dataset(np.load(tmp_path / "x.npy", mmap_mode="r"), np.arange(40))
    monkeypatch.setattr(np.memmap, "__getitem__", noted)
    list(data.batches(8, shuffle=False, num_threads=0, part=(1, 4)))
    assert read == [row for start in range(0, 40, 8) for row in (start + 2, start + 3)]


def test_a_process_reads_its_samples_alone():
    read = []

    class Squares:
        def __len__(self):
            return 10

        def __getitem__(self, index):
            read.append(index)
            return np.array([index, index**2]), index

    batches = list(SampleBatches(Squares()).batches(4, part=(1, 2)))
    assert read == [2, 3, 6, 7, 9]
    assert [batch.total for batch in batches] == [4, 4, 2]
    assert [batch.total for batch in Stream(SampleBatches(Squares())).batches(4, part=(0, 2))]


def test_parts_of_a_stream_are_its_batches_and_have_a_fingerprint(rng):
    source = [(rng.random((n, 3)), np.arange(n)) for n in (4, 3, 1)]
    parts = [list(Stream(source).batches(part=(k, 2))) for k in range(2)]
    assert_same(parts, Stream(source).batches())
    for first, second in zip(*parts, strict=True):
        assert first.fingerprint == second.fingerprint != 0
    other = [(x[::-1], y) for x, y in source]
    found = next(Stream(other).batches(part=(0, 2)))
    assert found.fingerprint != parts[0][0].fingerprint


def test_a_source_that_takes_part_reads_its_own_rows():
    class Source:
        def batches(self, batch_size, part=None):
            rows = np.arange(batch_size)
            own = rows if part is None else np.array_split(rows, part[1])[part[0]]
            yield BatchPart((own[:, None] * 1.0, own), batch_size)

    stream = Stream(Source())
    (batch,) = stream.batches(6, part=(1, 2))
    assert batch[0].ravel().tolist() == [3, 4, 5]
    assert (batch.total, stream.rows, stream.counted) == (6, 6, (1, 6))
