"""How much work of the compiled kernels is worth another thread, and how long a sum may be."""

# Numbers to read and write below which a second thread costs more than it saves: it takes 10 to 50
# microseconds to start.
GRAIN = 1 << 15
# Numbers after which a sum is added to a total and starts again: a million float32 numbers added
# one after the other lose up to five digits.
LONGEST_SUM = 1 << 12


def grain_for(size: int) -> int:
    """Return how many samples of `size` numbers are worth a thread."""
    return 1 + GRAIN // max(size, 1)
