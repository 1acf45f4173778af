"""Vocabularies, and texts from files: what they hold, and what bad files and ids cause."""

import csv
import gzip

import numpy as np
import pytest

import nn
from nn.data.text import LabeledTexts, Vocabulary, read_lines, read_table, read_text

TEXTS = ["The cat sat. The dog sat?", "the cat's hat"]

# ------------------------------------------------------------------------------- vocabulary


def test_tokens_are_in_order_of_frequency_then_of_the_alphabet():
    vocabulary = Vocabulary.from_text(TEXTS)
    assert vocabulary.tokens == ("The", "sat", ".", "?", "cat", "cat's", "dog", "hat", "the")
    assert (vocabulary.padding_id, vocabulary.unknown_id, len(vocabulary)) == (0, 1, 11)
    assert Vocabulary.from_text(TEXTS[::-1]) == vocabulary
    lower = Vocabulary.from_text(TEXTS, lowercase=True, min_count=2)
    assert lower.tokens == ("the", "sat")
    np.testing.assert_array_equal(lower.encode("THE bird sat"), [2, 1, 3])
    assert "the" in lower and "bird" not in lower


def test_the_size_counts_padding_and_unknown():
    vocabulary = Vocabulary.from_text(TEXTS, max_size=4)
    assert vocabulary.tokens == ("The", "sat") and len(vocabulary) == 4
    assert len(Vocabulary.from_text(TEXTS, max_size=4, padding=False)) == 4
    assert len(Vocabulary.from_text(TEXTS, max_size=400)) == 11


@pytest.mark.parametrize("padding", [True, False])
@pytest.mark.parametrize("unknown", [True, False])
@pytest.mark.parametrize("level", ["word", "character"])
def test_what_is_encoded_is_decoded(level, unknown, padding):
    text = "one two\tone\n\N{SNOWMAN} e\N{COMBINING ACUTE ACCENT}"
    options = {"padding": padding, "unknown": unknown}
    vocabulary = Vocabulary.from_text([text, ""], level, **options)
    ids = vocabulary.encode(text)
    assert ids.dtype == np.int64 and ids.min() == padding + unknown
    assert ids.max() == len(vocabulary) - 1
    expected = text if level == "character" else " ".join(vocabulary._split(text))
    assert vocabulary.decode(ids) == expected
    assert vocabulary.decode(ids.astype(np.uint8).tolist()) == expected
    assert vocabulary.decode(np.stack([ids, ids])) == [expected] * 2
    assert vocabulary.decode([ids, ids[:0]]) == [expected, ""]
    copy = Vocabulary(**vocabulary.to_config())
    assert copy == vocabulary and hash(copy) == hash(vocabulary)
    assert copy != Vocabulary.from_text(text + "z", level, **options)


def test_unknown_tokens_get_their_id_or_are_an_error():
    known = Vocabulary(["a", "b"], padding=False)
    np.testing.assert_array_equal(known.encode("b c a"), [2, 0, 1])
    assert known.decode([2, 0, 1]) == "b � a"
    with pytest.raises(ValueError, match=r"\[Vocabulary\] 'texts' .*, got 'c'"):
        Vocabulary(["a", "b"], unknown=False).encode("b c a")


def test_an_empty_text_has_no_ids_of_integers():
    vocabulary = Vocabulary(["a"])
    assert vocabulary.encode("").dtype == np.int64 and len(vocabulary.encode("")) == 0
    assert [len(ids) for ids in vocabulary.encode(["", "a"])] == [0, 1]
    assert vocabulary.encode([]) == [] and vocabulary.decode([]) == ""


def test_texts_may_be_numpys_strings_or_any_iterable():
    vocabulary = Vocabulary.from_text(np.array(["a b", "a"]))
    assert [type(token) for token in vocabulary.tokens] == [str, str]
    assert len(vocabulary.encode(text for text in ("a", "b"))) == 2
    assert vocabulary.encode(np.str_("a")).tolist() == [2]


@pytest.mark.parametrize(
    ("make", "kind", "words"),
    [
        (lambda: Vocabulary("abc"), TypeError, "'tokens' must be a list of strings, got 'abc'"),
        (lambda: Vocabulary(3), TypeError, "'tokens'.*'int'"),
        (lambda: Vocabulary(["a", 3]), TypeError, "'tokens' must be strings, got 3"),
        (lambda: Vocabulary([]), ValueError, "'tokens' must hold at least one"),
        (lambda: Vocabulary(["a", ""]), ValueError, "'tokens'.*no empty one"),
        (lambda: Vocabulary(["b", "a", "b"]), ValueError, "'tokens'.*once, got 'b'"),
        (lambda: Vocabulary(["a"], "char"), ValueError, "'level'.*mean 'character'"),
        (lambda: Vocabulary(["a"], padding="no"), ValueError, "'padding' must be True or False"),
        (lambda: Vocabulary.from_text([]), ValueError, "'texts'.*got 0 tokens"),
        (lambda: Vocabulary.from_text(" \n"), ValueError, "'texts'.*got 0 tokens"),
        (lambda: Vocabulary.from_text("a", min_count=2), ValueError, "at least 2 times, got 1"),
        (lambda: Vocabulary.from_text(b"a"), TypeError, "'texts' must be strings, got 'bytes'"),
        (lambda: Vocabulary.from_text([b"a"]), TypeError, r"'texts'.*bytes.decode\('utf-8'\)"),
        (lambda: Vocabulary.from_text([None]), TypeError, "'texts' must be strings, got None"),
        (lambda: Vocabulary.from_text("a", max_size=2), ValueError, "'max_size' must be above 2"),
        (lambda: Vocabulary.from_text("a", max_size=0), ValueError, "'max_size' must be a pos"),
        (lambda: Vocabulary.from_text("a", min_count=0), ValueError, "'min_count'"),
        (
            lambda: Vocabulary.from_text("a b", max_size=2, unknown=False),
            ValueError,
            "'unknown' must be True if 'max_size'",
        ),
        (lambda: Vocabulary(["a"]).encode(7), TypeError, "'texts' must be strings, got 'int'"),
        (lambda: Vocabulary(["a"]).encode([["a"]]), TypeError, "'texts'.*of type list"),
        (lambda: Vocabulary(["a"]).decode([3]), ValueError, r"'ids' must hold ids in 0..2, got 3"),
        (lambda: Vocabulary(["a"]).decode([-1]), ValueError, "'ids'.*got -1"),
        (lambda: Vocabulary(["a"]).decode(2), ValueError, r"'ids' must have the shape"),
        (lambda: Vocabulary(["a"]).decode(np.ones((1, 2, 3), int)), ValueError, "the shape"),
        (lambda: Vocabulary(["a"]).decode(["a"]), TypeError, "'ids' must hold integers"),
        (lambda: Vocabulary(["a"]).decode([0.5]), TypeError, r"argmax\(axis=-1\)"),
        (lambda: Vocabulary(["a"]).decode([True]), TypeError, "'ids' must hold integers"),
    ],
)
def test_wrong_arguments(make, kind, words):
    with pytest.raises(kind, match=rf"^\[Vocabulary\] .*{words}"):
        make()


# ----------------------------------------------------------------------------- in a model


def language_model(vocabulary, seed=0):
    layers = [nn.Embedding(len(vocabulary), 4), nn.Dense(len(vocabulary))]
    model = nn.Model(layers, seed=seed)
    model.build((None, 3))
    model.compile("cce", "sgd")
    return model


@pytest.mark.parametrize("ending", ["hdf5", "npz"])
def test_the_vocabulary_is_saved_with_the_model(tmp_path, ending):
    vocabulary = Vocabulary.from_text("Abc \N{SNOWMAN}\n", "character", lowercase=True)
    model = language_model(vocabulary)
    assert model.vocabulary is None
    model.vocabulary = vocabulary
    model.save(tmp_path / f"m.{ending}")
    assert nn.Model.load(tmp_path / f"m.{ending}").vocabulary == vocabulary
    fresh = language_model(vocabulary, seed=1)
    fresh.load_weights(tmp_path / f"m.{ending}", strict=False)
    assert fresh.vocabulary is None
    fresh.load_weights(tmp_path / f"m.{ending}")
    assert fresh.vocabulary == vocabulary
    other = fresh.vocabulary = Vocabulary(list("efghij"), "character")
    fresh.load_weights(tmp_path / f"m.{ending}")
    assert fresh.vocabulary is other
    model.vocabulary = None
    model.save(tmp_path / f"m.{ending}")
    assert nn.Model.load(tmp_path / f"m.{ending}").vocabulary is None


def test_a_resume_brings_the_vocabulary(tmp_path):
    vocabulary = Vocabulary.from_text("abc", "character")
    x = np.ones((2, 3), int)
    model = language_model(vocabulary)
    model.vocabulary = vocabulary
    checkpoint = nn.callbacks.ModelCheckpoint(
        tmp_path / "m.hdf5", save_best_only=False, save_state=True
    )
    model.fit(x, x, epochs=1, verbose=0, callbacks=[checkpoint])
    fresh = language_model(vocabulary)
    fresh.fit(x, x, epochs=2, verbose=0, resume=tmp_path / "m.hdf5")
    assert (fresh.vocabulary, fresh.epoch) == (vocabulary, 2)


def test_a_vocabulary_must_fit_the_embedding():
    model = language_model(Vocabulary(["a"]))
    for wrong in (Vocabulary(["a", "b"]), ["a"], 3):
        with pytest.raises(ValueError, match=r"\[Model\] 'vocabulary' must"):
            model.vocabulary = wrong
    assert model.vocabulary is None
    table = nn.Model([nn.Dense(2, input_shape=(5,))])  # of counts of words
    table.vocabulary = Vocabulary(["a"])


@pytest.mark.parametrize(
    "change",
    [
        {"tokens": ["a", "a"]},
        {"tokens": [1]},
        {"tokens": []},
        {"level": "line"},
        {"padding": 1},
        {"tokens": ["a", "b", "c"]},  # more than the Embedding has
    ],
)
def test_a_damaged_vocabulary_in_a_file_is_an_error(tmp_path, change):
    from nn.files import model_file

    model = language_model(Vocabulary(["a"]))
    model.vocabulary = Vocabulary(["a"])
    model.save(tmp_path / "m.npz")
    content = model_file.read(tmp_path / "m.npz")
    content.architecture["vocabulary"] |= change
    model_file.write(tmp_path / "m.npz", content)
    with pytest.raises(ValueError, match=r"[vV]ocabulary"):
        nn.Model.load(tmp_path / "m.npz")


# ---------------------------------------------------------------------------------- files


@pytest.fixture
def file(tmp_path):
    """Return a function that writes bytes or a text to a file."""

    def write(name, content):
        data = content if isinstance(content, bytes) else content.encode()
        path = tmp_path / name
        path.write_bytes(gzip.compress(data) if name.endswith(".gz") else data)
        return path

    return write


@pytest.mark.parametrize("name", ["a.txt", "a.txt.gz", "a"])
def test_texts_and_lines_of_files(file, name):
    path = file(name, "Eins.\r\n\n  Zwölf\N{LINE SEPARATOR}! \n")
    assert read_text(path) == "Eins.\n\n  Zwölf\N{LINE SEPARATOR}! \n"
    assert read_lines(str(path)) == ["Eins.", "Zwölf\N{LINE SEPARATOR}!"]


def test_encodings(file):
    assert read_text(file("a", b"\xef\xbb\xbfa")) == "a"  # without the mark of UTF-8
    assert read_text(file("a", "ä".encode("latin-1")), encoding="latin-1") == "ä"
    assert read_text(file("a", "ä".encode("utf-16")), "utf-16") == "ä"
    with pytest.raises(nn.io.FileFormatError, match=r"not written in the encoding 'utf-8.*latin-1"):
        read_text(file("a", "ä".encode("latin-1")))
    for wrong in ("latin-99", "base64", None):
        with pytest.raises(ValueError, match=r"\[text\] 'encoding' must be an encoding"):
            read_text(file("a", "a"), wrong)


def test_files_without_text_and_damaged_files(file, tmp_path):
    with pytest.raises(nn.io.FileFormatError, match="holds no text"):
        read_lines(file("a.txt", " \n\n"))
    with pytest.raises(FileNotFoundError):
        read_text(tmp_path / "none.txt")
    packed = gzip.compress(bytes(range(32, 127)) * 99)
    for data in (packed[:60], packed[:40] + b"\xff" * 9 + packed[49:], b"no gzip"):
        path = file("b", data).rename(tmp_path / "b.gz")
        with pytest.raises(nn.io.FileFormatError, match="is damaged"):
            read_text(path)


def test_columns_of_tables(file):
    expected = LabeledTexts(["a b", 'say "hi"'], np.array([1, 0]), ["ham", "spam"])
    for name, content, columns in [
        ("m.tsv", 'spam\ta b\nham\tsay "hi"\n', (1, 0)),
        ("m.TSV.gz", 'spam\ta b\r\n\r\nham\tsay "hi"', (1, 0)),
        ("m.tab", 'x\tkind\tbody\n\tspam\ta b\n\tham\tsay "hi"\n', ("body", "kind")),
        ("m.csv", 'body,kind\na b,spam\n"say ""hi""",ham\n', ("body", "kind")),
        ("m.csv", 'body,kind\na b,spam\n"say ""hi""",ham\n', (0, "kind")),
        ("m.csv", 'a b,spam\n"say ""hi""",ham\n', (0, 1)),
    ]:
        found = read_table(file(name, content), *columns)
        assert (found.texts, found.class_names) == (expected.texts, expected.class_names)
        np.testing.assert_array_equal(found.labels, expected.labels)
    found = read_table(file("m.csv", "text,stars\nfine,10\nbad,9\n"), 0, 1, header=True)
    assert (found.class_names, found.labels.tolist()) == (["9", "10"], [1, 0])  # as numbers
    assert read_table(file("m.csv", '"two\nlines",a\n'), 0, 1).texts == ["two\nlines"]


@pytest.mark.parametrize(
    ("content", "arguments", "words"),
    [
        ("a,b\n1,2\n", ("c", "b"), "'text' must be one of 'a', 'b', got 'c'"),
        ("a,a\n1,2\n", ("a", 0), "'text'.*got 'a'"),  # which of the two?
        ("a,b\n1,2\n", (0, 2, True), "'label' must be below 2, got 2"),
        ("a,b\n1,2\n", ("a", 1, False), "'text' must be a number without a header"),
        ("a,b\n1,2\n", (-1, 1), "'text' must be an integer of at least 0, got -1"),
        ("1,2\n3\n", (0, 1), "line 2: expects at least 2 columns, got 1"),
        ("1\n", (0, 1), "line 1: expects at least 2 columns, got 1"),
        ("a,b\n", ("a", "b"), "no rows below its header"),
        ("", (0, 1), "holds no rows"),
        ('1,2\n"3,4\n', (0, 1), "line 2: unexpected end of data"),
    ],
)
def test_wrong_tables(file, content, arguments, words):
    with pytest.raises(ValueError, match=words):
        read_table(file("m.csv", content), *arguments)


def test_a_table_of_another_kind_and_a_field_without_end(file):
    with pytest.raises(ValueError, match=r"'path' must end in .csv, .tsv or .tab"):
        read_table(file("m.txt", "a,b"), 0, 1)
    long = "x" * (csv.field_size_limit() + 1)
    with pytest.raises(nn.io.FileFormatError, match=r"line 1.*csv.field_size_limit\(n\)"):
        read_table(file("m.csv", f"a,{long}\n"), 1, 0)
