"""Training: the loop of `fit`, the data it reads, signals, and the range test of rates."""
