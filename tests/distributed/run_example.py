"""Run examples/cifar10_train.py on the small set that a test has made."""

import dataclasses
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(ROOT), str(ROOT / "examples")]

import cifar10_train  # noqa: E402

from nn.data.sets import cifar  # noqa: E402

if __name__ == "__main__":
    cifar.CIFAR10 = dataclasses.replace(
        cifar.CIFAR10, train=dict.fromkeys(cifar.CIFAR10.train, 40), test={"test_batch": 50}
    )
    raise SystemExit(cifar10_train.main(sys.argv[1:]))
