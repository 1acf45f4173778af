"""The command line: `python -m nn.data mnist --dir mnist_dataset` downloads MNIST."""

import argparse
import sys
from collections.abc import Sequence

from .mnist import download_mnist


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command and return its exit status: 0 where the files are in place, else 1."""
    parser = argparse.ArgumentParser(
        prog="python -m nn.data", description="Download a data set, checked by its checksums."
    )
    parser.add_argument("dataset", choices=["mnist"], help="mnist: 70,000 digits, 12 MB")
    parser.add_argument("--dir", default="mnist_dataset", help="folder (default: %(default)s)")
    parser.add_argument(
        "--timeout",
        type=float,
        default=6.0,
        help="seconds after which a silent network counts as absent (default: %(default)s)",
    )
    parser.add_argument(
        "--mirror",
        action="append",
        help="address to download from in place of the usual ones; may be repeated",
    )
    options = parser.parse_args(arguments)
    try:
        paths = download_mnist(options.dir, mirrors=options.mirror, timeout=options.timeout)
    except (OSError, ValueError) as error:
        print(error, file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("Stopped; the files that are in place are whole.", file=sys.stderr)
        return 1
    for path in paths:
        print(path)
    return 0


if __name__ == "__main__":
    sys.exit(main())
