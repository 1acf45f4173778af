"""Recognise who speaks, from sequences of different lengths, with a recurrent layer.

    python examples/speaker.py japanese_vowels.npz
    python examples/speaker.py japanese_vowels.npz --layer gru --bidirectional --epochs 40

The file holds utterances one after the other, `x_train` (steps, features) and `x_test`, with the
number of steps of each, `length_train` and `length_test`, and who spoke, `y_train` and `y_test`.
The data of nine speakers of Japanese vowels are of Kudo, Toyama and Shimbo 1999, "Multidimensional
curve classification using passing-through regions", in UCI's repository; 270 utterances to train
on, 370 to test. The LSTM is right about 95.9% of these (median of seeds 0 to 2).

Shorter utterances are padded with zeros at their ends, and `Masking` finds these steps: the
recurrent layer keeps its state there, so that the state that is classified is that of the last step
of speech.
"""

import argparse
from pathlib import Path

import numpy as np
from lesson import positive, seed, whole

import nn
from nn.data.sequences import pad

LAYERS = {"lstm": nn.LSTM, "gru": nn.GRU, "rnn": nn.SimpleRNN}


def parse_arguments(arguments=None):
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("file", type=Path, help="the .npz")
    parser.add_argument("--layer", choices=sorted(LAYERS), default="lstm")
    parser.add_argument("--units", type=whole, default=32)
    parser.add_argument("--bidirectional", action="store_true", help="read from both ends")
    parser.add_argument("--epochs", type=whole, default=60)
    parser.add_argument("--lr", type=positive, default=5e-3, help="learning rate of Adam")
    parser.add_argument("--seed", type=seed, default=0)
    return parser.parse_args(arguments)


def load(path):
    """Return [(x, y), (x, y)] of training and test, scaled by mean and deviation of training.

    x is (N, T, D), padded to the longest utterance of its part.
    """
    with np.load(path) as file:
        arrays = dict(file)
    mean, std = arrays["x_train"].mean(axis=0), arrays["x_train"].std(axis=0)
    sets = []
    for part in ("train", "test"):
        steps = (arrays[f"x_{part}"] - mean) / std
        utterances = np.split(steps, np.cumsum(arrays[f"length_{part}"])[:-1])
        sets.append((pad(utterances), arrays[f"y_{part}"]))
    return sets


def main(arguments=None):
    options = parse_arguments(arguments)
    train, test = load(options.file)
    layer = LAYERS[options.layer](options.units)
    if options.bidirectional:
        layer = nn.Bidirectional(layer)
    classes = int(train[1].max()) + 1
    model = nn.Model([nn.Masking(), layer, nn.Dense(classes)], seed=options.seed)
    model.compile("cce", "adam", lr=options.lr, clip_norm=1.0)
    model.build((None, None, train[0].shape[2]))  # utterances of any length
    print(model.summary())
    model.fit(*train, epochs=options.epochs, verbose=2)
    print(f"test accuracy {model.evaluate(*test)['acc']:.3f}")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
