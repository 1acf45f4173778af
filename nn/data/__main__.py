"""The command line: `python -m nn.data mnist --dir mnist_dataset` downloads MNIST."""

import argparse
import sys
from collections.abc import Sequence

from .sets.cifar import download_cifar10, download_cifar100
from .sets.mnist import download_fashion_mnist, download_kmnist, download_mnist

_SETS = {
    "mnist": (download_mnist, "70,000 digits, 12 MB"),
    "fashion": (download_fashion_mnist, "70,000 images of clothing, 31 MB"),
    "kmnist": (download_kmnist, "70,000 old Japanese characters, 21 MB"),
    "cifar10": (download_cifar10, "60,000 colour images of 10 classes, 170 MB"),
    "cifar100": (download_cifar100, "60,000 colour images of 100 classes, 169 MB"),
}


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command and return its exit status: 0 if the files are in place, else 1."""
    options = _parse(arguments)
    download, _ = _SETS[options.dataset]
    folder = options.dir or f"{options.dataset}_dataset"
    try:
        paths = download(folder, mirrors=options.mirror, timeout=options.timeout)
    except (OSError, ValueError) as error:
        print(error, file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("Stopped; the files that are in place are complete.", file=sys.stderr)
        return 1
    for path in paths:
        print(path)
    return 0


def _parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m nn.data", description="Download a data set, checked by its checksums."
    )
    parser.add_argument(
        "dataset",
        choices=_SETS,
        help="; ".join(f"{name}: {what}" for name, (_, what) in _SETS.items()),
    )
    parser.add_argument("--dir", help="folder (default: the name of the set with _dataset)")
    parser.add_argument(
        "--timeout",
        type=float,
        default=6.0,
        help="seconds to wait for an answer (default: %(default)s)",
    )
    parser.add_argument(
        "--mirror",
        action="append",
        help="address to download from instead of the usual ones; may be repeated",
    )
    return parser.parse_args(arguments)


if __name__ == "__main__":
    sys.exit(main())
