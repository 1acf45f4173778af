"""Train a model of the characters of a text, and let it write on.

    python examples/text_generation.py moby_dick.txt.gz
    python examples/text_generation.py moby_dick.txt.gz --model transformer
    python examples/text_generation.py letters.txt --epochs 20 --start "Dear " --temperature 0.6

The text is a file of plain text, or one packed as .gz, in UTF-8. The model predicts each character
from those before it. The last tenth of the text is the test: its bits a character are the mean of
-log2 of the probability that the model gave to what came. A model that knows nothing needs log2 of
the number of characters, one that knows how frequent each is, their entropy; both are printed, too.
For "Moby Dick", 1.2 million characters, these are 6.34 and 4.43 bits; the LSTM needs 2.45 after 4
epochs, and fewer with more.

The LSTM reads windows that follow each other from a state of zeros, as the transformer does, so
that both see at most `--length` characters. The state is kept while the sample is written, and the
text of the transformer ends after `--length` characters: it has no positions for more.
"""

import argparse
import sys
from pathlib import Path

import numpy as np
from lesson import at_least_0, check_finished, file_to_write, positive, seed, whole

import nn
from nn.data.sequences import split_in_time, windows
from nn.data.text import Vocabulary, read_text


def parse_arguments(arguments=None):
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("file", type=Path, help="the text: .txt, or .txt.gz")
    parser.add_argument("--model", choices=["lstm", "transformer"], default="lstm")
    parser.add_argument("--units", type=whole, help="of the LSTM: 256; of the transformer: 96")
    parser.add_argument("--length", type=whole, default=100, help="characters in a window")
    parser.add_argument("--epochs", type=whole, default=4)
    parser.add_argument("--batch-size", type=whole, default=32)
    parser.add_argument("--lr", type=positive, default=4e-3, help="maximum learning rate of Adam")
    parser.add_argument("--start", default="The ", help="what the sample begins with")
    parser.add_argument("--characters", type=whole, default=400, help="in the sample")
    parser.add_argument("--temperature", type=at_least_0, default=0.7, help="of the sample")
    parser.add_argument("--seed", type=seed, default=0)
    parser.add_argument("--out", type=file_to_write, default=Path("text_generation.hdf5"))
    options = parser.parse_args(arguments)
    if not options.start:
        raise SystemExit("--start must have at least one character.")
    if options.model == "transformer" and len(options.start) >= options.length:
        raise SystemExit("--start must be shorter than --length for a transformer.")
    return options


def network(options, vocabulary):
    """Return a model of ids (N, T) with logits (N, T, V); both kinds have about the same size."""
    count, length = len(vocabulary), options.length
    if options.model == "lstm":
        return nn.zoo.char_lstm(count, options.units or 256, length=length, seed=options.seed)
    features = options.units or 96
    return nn.zoo.small_transformer(count, length, features, num_blocks=3, seed=options.seed)


def entropy(ids):
    """Return the bits a character of what knows how frequent each is, and nothing else."""
    shares = np.bincount(ids) / len(ids)
    return -(shares[shares > 0] * np.log2(shares[shares > 0])).sum()


def write(model, options):
    """Print the sample while it is drawn."""
    count = options.characters
    if options.model == "transformer":  # the start has positions, too
        count = min(count, options.length - len(options.start))

    def show(character):
        sys.stdout.write(model.vocabulary.decode([character]))
        sys.stdout.flush()

    sys.stdout.write(options.start)
    nn.generate(model, options.start, count, options.temperature, seed=options.seed, callback=show)
    print()


def main(arguments=None):
    options = parse_arguments(arguments)
    try:
        text = read_text(options.file)
        vocabulary = Vocabulary.from_text(text, "character", padding=False, unknown=False)
        vocabulary.encode(options.start)  # which says now what it does not have
        before, after = split_in_time(vocabulary.encode(text), 0.1)
        x, y = windows(before, options.length, stride=options.length, targets="shifted")
        test = windows(after, options.length, stride=options.length, targets="shifted")
        model = network(options, vocabulary)
    except (OSError, ValueError) as error:
        raise SystemExit(str(error)) from error
    print(f"{len(before):,} characters to train on, {len(after):,} to test on, {vocabulary}")

    print(model.summary())
    model.compile("cce", "adam", lr=options.lr, clip_norm=1.0)
    history = model.fit(
        x,
        y,
        epochs=options.epochs,
        batch_size=options.batch_size,
        lr_schedule="one_cycle",
        verbose=2,
    )
    check_finished(history, options.epochs)
    bits = model.evaluate(*test)["loss"] / np.log(2)
    print(f"Bits a character of the test: {bits:.3f}")
    print(f"Without a model: {np.log2(len(vocabulary)):.3f}, by frequency: {entropy(after):.3f}\n")

    model.vocabulary = vocabulary
    model.save(options.out)
    write(model, options)
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
