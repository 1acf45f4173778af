"""The result of a gradient check of a whole model, as rows and as a table."""

from dataclasses import dataclass
from typing import Any

from .. import text


@dataclass(frozen=True)
class GradientRow:
    """Result of `check_model` for one array: a parameter, or the input of a layer.

    Attributes
    ----------
    layer : str
        The layer's name in model files, '7_Dense' or '3_Residual/0_Conv2D'; or the loss.
    parameter : str
        The parameter's name, or 'input'.
    shape : tuple
        The array's shape.
    entries : int
        Number of elements checked.
    kinks : int
        Number of elements skipped because the loss is not differentiable there.
    error : float
        The largest difference of gradient and numerical gradient, divided by the array's largest
        gradient (or by the smallest value that can be resolved to the tolerance, if that is
        larger).
    verdict : str
        'ok' or 'WRONG'; 'tiny' if both gradients are too small to distinguish from 0; 'kinks' if
        all elements were skipped; 'frozen' for a layer that is not trainable.
    index : tuple of int
        Position of the largest error.
    expected, got : float
        The numerical gradient there, and that of `backward`.
    hint : str
        What all wrong elements have in common, such as 'its sign is wrong'; '' for nothing.
    """

    layer: str
    parameter: str
    shape: tuple[int, ...]
    entries: int
    kinks: int
    error: float
    verdict: str
    index: tuple[int, ...] = ()
    expected: float = 0.0
    got: float = 0.0
    hint: str = ""


@dataclass(frozen=True)
class ModelCheck:
    """The result of `check_model`; `print` shows it as a table with one line for each array.

    Attributes
    ----------
    rows : list of GradientRow
        In the order of the layers, the input of each first; the loss is last.
    tolerance : float
        Relative error above which a gradient is wrong.
    """

    rows: list[GradientRow]
    tolerance: float

    @property
    def ok(self) -> bool:
        """Whether each gradient was checked and none is wrong; frozen layers are not checked."""
        return all(row.verdict not in ("WRONG", "kinks") for row in self.rows)

    @property
    def worst(self) -> GradientRow:
        """The row with the largest relative error."""
        return max(self.rows, key=lambda row: row.error)

    @property
    def suspect(self) -> str | None:
        """The layer or loss whose `backward` is likely wrong; None if all gradients are right.

        A wrong gradient for the input of a layer makes the gradients of all layers before it wrong,
        so it is the last layer with a wrong row.
        """
        wrong = [row for row in self.rows if row.verdict == "WRONG"]
        if not wrong:
            return None
        outer = wrong[-1].layer.partition("/")[0]
        is_input_wrong = any(row.layer == outer and row.parameter == "input" for row in wrong)
        return outer if is_input_wrong else wrong[-1].layer

    def __str__(self) -> str:
        heads = ("Layer", "Array", "Shape", "Entries", "Kinks", "Error", "Verdict")
        cells = [heads]
        for row in self.rows:
            error = f"{row.error:.1e}" if row.entries else "-"
            counts = (str(row.entries), str(row.kinks))
            cells.append((row.layer, row.parameter, str(row.shape), *counts, error, row.verdict))
        lines = text.table(cells, right=(3, 4, 5))
        rule = "-" * max(map(text.width, lines))
        return "\n".join([lines[0], rule, *lines[1:], rule, self._conclusion()])

    def _repr_pretty_(self, printer: Any, cycle: bool) -> None:
        """Show the table in notebooks too."""
        printer.text(str(self))

    def _conclusion(self) -> str:
        """Return the last lines of the table."""
        wrong = [row for row in self.rows if row.verdict == "WRONG"]
        if wrong:
            row = next(row for row in wrong[::-1] if row.layer.startswith(self.suspect or ""))
            place = ", ".join(map(str, row.index))
            hint = f": {row.hint}" if row.hint else ""
            return (
                f"{row.layer} {row.parameter}[{place}]: expected {row.expected:.6g}, "
                f"got {row.got:.6g}{hint}\n"
                f"{len(wrong)} of {len(self.rows)} are wrong: check the backward() of "
                f"{self.suspect}."
            )
        skipped = [f"{row.layer} {row.parameter}" for row in self.rows if row.verdict == "kinks"]
        if skipped:
            return (
                f"Not checked: {', '.join(skipped)}, as the loss has a kink at all elements "
                "tried; pass another 'x'. The other gradients agree with numerical gradients to "
                f"{self.tolerance:g}."
            )
        return f"All gradients agree with numerical gradients to {self.tolerance:g}."
