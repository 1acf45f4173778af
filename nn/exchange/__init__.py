"""Models from other libraries and for them; none of these libraries is needed.

`Model.load`, `save` and `load_weights` read and write the files of other libraries through
`formats`; the modules with the formats are imported when they are needed.
"""

import os
from typing import Any

from ..layers.state import LoadReport

__all__ = ["from_torch"]


def from_torch(model: Any, source: Any, strict: bool = True) -> LoadReport:
    """Load weights of PyTorch into a model; PyTorch is not needed for a file.

    The arrays are matched with the layers by their order and shapes, and turned: `Linear` is
    transposed, recurrent layers too; the gates of a GRU change places, and the two biases of LSTM
    and RNN become one.

    Parameters
    ----------
    model
        A built model with the same layers in the same order.
    source
        A file of `torch.save(module.state_dict(), path)`, or of a checkpoint with a state dict in
        it; a safetensors file of one; a state dict of tensors or arrays; or the module. Nothing in
        a file is run, and none is opened but this.
    strict
        Whether it is an error if a layer's arrays do not fit, or the numbers of layers differ; else
        what fits is loaded.

    Returns
    -------
    LoadReport
        For each array, where it comes from and what was done to it.

    Raises
    ------
    FileNotFoundError, nn.io.FileFormatError
        If there is no such file, or it is damaged or does not fit the model.
    RuntimeError
        If the model is not built.
    ValueError
        If `source` is none of these.

    Examples
    --------
    >>> import numpy as np
    >>> from nn import Dense, Model
    >>> model = Model([Dense(3, input_shape=(2,))])
    >>> state = {"fc.weight": np.ones((3, 2)), "fc.bias": np.zeros(3)}
    >>> print(from_torch(model, state))
    state_dict: 2 arrays loaded, 0 skipped
      loaded   0_Dense_W from fc.weight, transposed
      loaded   0_Dense_b from fc.bias
    """
    if isinstance(source, str | os.PathLike):
        return model.load_weights(source, strict, layout="torch")
    from . import torch

    arrays, report = torch.match(torch.as_arrays(source), model.layers, "state_dict", strict)
    model._load_arrays(arrays, report, strict)
    return report
