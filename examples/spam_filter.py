"""Train a filter of spam: which words of a mail decide, with an embedding.

    python examples/spam_filter.py spam.tsv.gz
    python examples/spam_filter.py mails.csv --text body --label kind --network lstm

The file is a table of mails, .tsv or .csv, with the label in its first column and the text in the
second, or in the columns that `--label` and `--text` name. A fifth of the mails is held out for the
test. The vocabulary is that of the others; shorter mails are padded at their ends.

The network `mean` averages the vectors of all words: with one hidden layer after it, the order of
the words does not count, as in a bag of words (Iyyer et al. 2015, "Deep unordered composition
rivals syntactic methods for text classification"). `lstm` reads them in their order.

Of SpamAssassin's 5,503 mails without headers (https://spamassassin.apache.org/old/publiccorpus),
`mean` is right about SHARE of the held-out fifth; scikit-learn's logistic regression on the same words
about OTHERS.
"""

import argparse
from pathlib import Path

import numpy as np
from lesson import check_finished, fraction, positive, seed, whole

import nn
from nn.data.text import Vocabulary, pad, read_table


def parse_arguments(arguments=None):
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("file", type=Path, help="the .tsv or .csv")
    parser.add_argument("--text", type=column, default=1, help="column of the mail: 1 or its name")
    parser.add_argument("--label", type=column, default=0, help="column of the label")
    parser.add_argument("--network", choices=["mean", "lstm"], default="mean")
    parser.add_argument("--words", type=whole, default=20_000, help="of the vocabulary, at most")
    parser.add_argument("--length", type=whole, default=400, help="words of a mail, at most")
    parser.add_argument("--epochs", type=whole, default=8)
    parser.add_argument("--lr", type=positive, default=3e-3, help="maximum learning rate of Adam")
    parser.add_argument("--seed", type=seed, default=0)
    return parser.parse_args(arguments)


def column(text):
    """Return the number of a column, or its name."""
    return int(text) if text.isdecimal() else text
