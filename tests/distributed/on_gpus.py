"""Train with NCCL and compare with one process; `test_nccl.py` runs it on the stand-in for CuPy."""

import sys

import exactness
import numpy as np

import nn

NAMES = ("uneven last batch", "fewer rows than ranks", "batch norm", "global-norm clipping", "LSTM")


def main():
    assert nn.cuda.USE_CUDA
    team = nn.distributed.NCCL(timeout=60, share_cores=False)
    adds, seen = team._nccl.reduce_scatter, []
    team._nccl.reduce_scatter = lambda *arguments: (seen.append(1), adds(*arguments))
    for name in NAMES:
        case = exactness.CASES[name]
        alone, shared = case.run(None), case.run(team)
        for ours, theirs in zip(alone[:3], shared[:3], strict=True):
            ours, theirs = ({k: _on_cpu(v) for k, v in d.items()} for d in (ours, theirs))
            assert exactness.difference(ours, theirs) <= exactness.TOLERANCE, name
    assert seen, "no gradient went through NCCL"
    print(f"rank {team.rank} of {team.size}: {len(seen)} sums through NCCL")


def _on_cpu(value):
    return nn.cuda.to_cpu(value) if hasattr(value, "dtype") else np.asarray(value, dtype=float)


if __name__ == "__main__":
    sys.exit(main())
