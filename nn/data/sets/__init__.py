"""Data sets by name (MNIST, CIFAR-10, ...), the file formats that they come in, and toy data."""
