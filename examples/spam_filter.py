"""Train a filter of spam: an embedding of the words, their mean, and a hidden layer.

    python examples/spam_filter.py spam.tsv.gz
    python examples/spam_filter.py mails.csv --text body --label kind --network lstm

The file is a table of mails, .tsv or .csv, with the label in its first column and the text in the
second, or in the columns that `--label` and `--text` name. A fifth of the mails is held out for the
test; the vocabulary is that of the others. Short mails are padded at their ends, long ones cut;
`mask_zero=True` leaves the padding out of the mean, or out of what the LSTM reads.

The network `mean` averages the vectors of a mail, so that the order of its words does not count
(Iyyer et al. 2015, "Deep unordered composition rivals syntactic methods for text classification");
`lstm` reads them in their order.

Of the 5,503 mails of SpamAssassin (headers removed), `mean` is right about 98.1% of the held-out
fifth (median of seeds 0 to 2); scikit-learn's logistic regression on the numbers of the same words
about 98.2% (seed 0; `CountVectorizer`, C=1), on whether they occur 97.6%.
"""

import argparse
from pathlib import Path

import numpy as np
from lesson import check_finished, file_to_write, positive, seed, whole

import nn
from nn.data.text import Vocabulary, pad, read_table


def parse_arguments(arguments=None):
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("file", type=Path, help="the .tsv or .csv, or one packed as .gz")
    parser.add_argument("--text", type=column, default=1, help="column of the mail: 1 or its name")
    parser.add_argument("--label", type=column, default=0, help="column of the label")
    parser.add_argument("--network", choices=["mean", "lstm"], default="mean")
    parser.add_argument("--words", type=whole, default=20_000, help="in the vocabulary, at most")
    parser.add_argument("--length", type=whole, default=400, help="words of a mail, at most")
    parser.add_argument("--epochs", type=whole, default=12)
    parser.add_argument("--lr", type=positive, default=5e-3, help="maximum learning rate of Adam")
    parser.add_argument("--seed", type=seed, default=0)
    parser.add_argument("--out", type=file_to_write, default=Path("spam_filter.hdf5"))
    return parser.parse_args(arguments)


def column(text):
    """Return the number of a column, or its name."""
    return int(text) if text.isdecimal() else text


def network(kind, words, classes, seed):
    """Return a model of ids (N, T)."""
    reader = [nn.GlobalAvgPool1D()] if kind == "mean" else [nn.LSTM(32)]
    layers = [nn.Embedding(words, 16, mask_zero=True), *reader, nn.Dropout(0.5)]
    layers += [nn.Dense(32, activation="relu"), nn.Dense(classes)]
    return nn.Model(layers, seed=seed)


def main(arguments=None):
    options = parse_arguments(arguments)
    try:
        mails = read_table(options.file, options.text, options.label)
        rows = nn.Dataset(np.arange(len(mails.texts))[:, None], mails.labels)
        train, test = rows.split(0.2, rng=np.random.default_rng(options.seed))
        texts = [[mails.texts[row] for row in part.x[:, 0]] for part in (train, test)]
        vocabulary = Vocabulary.from_text(texts[0], max_size=options.words)
    except (OSError, ValueError) as error:
        raise SystemExit(str(error)) from error
    x, x_test = (pad(vocabulary.encode(part), options.length, cut="end") for part in texts)
    print(f"{len(x):,} mails to train on, {len(x_test):,} to test on, {vocabulary}")

    model = network(options.network, len(vocabulary), len(mails.class_names), options.seed)
    model.compile("cce", "adam", lr=options.lr)
    data = nn.Dataset(x, train.y, class_names=mails.class_names)
    history = model.fit(data, epochs=options.epochs, lr_schedule="one_cycle", verbose=2)
    check_finished(history, options.epochs)
    print(f"Test accuracy: {100 * model.evaluate(x_test, test.y)['acc']:.2f}%")

    model.vocabulary = vocabulary
    model.save(options.out)
    wrong = np.flatnonzero(model.predict_classes(x_test) != test.y)
    for row in wrong[:3]:
        print(f"Wrong, it is {mails.class_names[test.y[row]]}: {texts[1][row][:70]!r}")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
