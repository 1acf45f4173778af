"""The training loop: what `Model.fit` does around each training step."""

from .progress import Progress

__all__ = ["Progress"]
