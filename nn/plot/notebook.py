"""A figure that a notebook shows, whether or not matplotlib's own notebook support is on.

A figure made without `pyplot` belongs to no window and is freed like any other object. Notebooks
draw such a figure only once `pyplot` has been imported; this one says itself how it looks. This is
the one file that imports matplotlib at its beginning: the others import it from functions.
"""

import io

from matplotlib.figure import Figure


class NotebookFigure(Figure):
    """A `matplotlib.figure.Figure` that IPython and Jupyter can display."""

    def _repr_png_(self) -> bytes:
        """Return the figure as a PNG file; Jupyter asks for it."""
        file = io.BytesIO()
        self.savefig(file, format="png", dpi=100)
        return file.getvalue()
