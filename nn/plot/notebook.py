"""A figure that notebooks display without `pyplot`.

A figure created without `pyplot` belongs to no window and is freed like any other object, but
notebooks display it only once `pyplot` has been imported. This one has its own `_repr_png_`. Only
this module imports matplotlib at its top; the others import it inside functions.
"""

import io

from matplotlib.figure import Figure


class NotebookFigure(Figure):
    """A `matplotlib.figure.Figure` that IPython and Jupyter can display."""

    def _repr_png_(self) -> bytes:
        """Return the figure as the bytes of a PNG file, for Jupyter."""
        file = io.BytesIO()
        self.savefig(file, format="png", dpi=100)
        return file.getvalue()
