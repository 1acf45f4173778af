"""Characters a second of texts drawn step by step: nn.generate beside PyTorch's eager loop.

    python benchmarks/generation.py --python-torch TORCH_PYTHON
    python benchmarks/generation.py --python-torch TORCH_PYTHON --length 1000 --rounds 3

The model is `charlm` of networks.py: Embedding 64, LSTM 256, 81 characters. PyTorch keeps the
state as nn does, in `torch.inference_mode`; softmax and multinomial draw the next id. A step is
small, so PyTorch may be faster with one thread, and its best counts. Each round has a process for
each; a figure is the median of the rounds.
"""

import argparse
import statistics
import sys

from networks import make_nn, make_torch
from workers import describe, median_seconds, print_machine, print_table, run_worker, serve


def torch_loop(model, length):
    """Return a function that draws `length` ids from Embedding, LSTM, Linear."""
    import torch
    from torch import nn

    embedding, lstm, dense = model.eval()

    def draw():
        number, state = torch.zeros((1, 1), dtype=torch.int64), None
        drawn = []
        with torch.inference_mode():
            for _ in range(length):
                y, state = nn.LSTM.forward(lstm, embedding(number), state)
                p = torch.softmax(dense(y[0]), dim=1)
                number = torch.multinomial(p, 1)
                drawn.append(number.item())
        return drawn

    return draw


def work(task):
    """Measure one framework: characters a second, the first two texts uncounted."""
    length = task["length"]
    if task["variant"].startswith("torch"):
        import torch

        if task["variant"] == "torch-one-thread":
            torch.set_num_threads(1)
        draw = torch_loop(make_torch("charlm"), length)
    else:
        import nn

        model = make_nn("charlm")

        def draw():
            return nn.generate(model, [0], length, seed=0)

    return {"rate": length / median_seconds(draw, task["texts"], warm_up=2)}


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--python-torch", default=sys.executable, help="interpreter with PyTorch")
    parser.add_argument("--length", type=int, default=500, help="characters of a text")
    parser.add_argument("--texts", type=int, default=3, help="texts in a round")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--worker", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.worker:
        serve(work, options.worker)
        return
    results = {"nn": [], "nn-without-numba": [], "torch": [], "torch-one-thread": []}
    for _ in range(options.rounds):
        for variant, rounds in results.items():
            python = options.python_torch if variant.startswith("torch") else sys.executable
            task = {"variant": variant, "length": options.length, "texts": options.texts}
            result = run_worker(__file__, task, python)
            if "missing" in result:
                print(f"{variant}: {result['missing']}")
            else:
                rounds.append(result)
    results = {variant: rounds for variant, rounds in results.items() if rounds}
    print_machine(describe({variant: rounds[-1] for variant, rounds in results.items()}))
    rates = {v: statistics.median(r["rate"] for r in rounds) for v, rounds in results.items()}
    peer = max((rate for v, rate in rates.items() if v.startswith("torch")), default=None)
    print_table(
        ["framework", "characters/s", "ratio to PyTorch's best"],
        [[v, f"{rate:,.0f}", f"{rate / peer:.2f}" if peer else "-"] for v, rate in rates.items()],
    )


if __name__ == "__main__":
    main()
