"""Batches shared by threads."""

from collections.abc import Callable

import numpy as np

from ...tiles import NUMBERS_PER_THREAD
from .. import threads


def share_samples(work: Callable[[int, int, int], None], x: np.ndarray, blas: bool = False) -> None:
    """Call `work(part, lo, hi)` for parts of the batch x, each on its own thread.

    `blas` says whether it multiplies matrices so large that BLAS would start threads of its own.
    """
    grain = 1 + NUMBERS_PER_THREAD // max(x[:1].size, 1)
    threads.run(work, len(x), grain=grain, blas=blas)
