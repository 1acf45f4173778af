"""Models from other libraries and for them; none of these libraries is needed.

`Model.load`, `save` and `load_weights` read and write the files of other libraries through
`formats`; the modules with the formats are imported when they are needed.
"""

import os
from dataclasses import dataclass
from typing import Any

import numpy as np

from .. import checks
from ..files import model_file
from ..layers.state import LoadReport
from .web import export_web

__all__ = ["TorchNetwork", "export_web", "from_torch", "to_torch"]


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
    from .torch import weights

    arrays, report = weights.match(weights.as_arrays(source), model.layers, "state_dict", strict)
    model._load_arrays(arrays, report, strict)
    return report


@dataclass(frozen=True)
class TorchNetwork:
    """A model as PyTorch has it; printed, it is the source.

    Attributes
    ----------
    source : str
        A Python module with a function `make_network()`, which returns the `torch.nn.Sequential`.
    state_dict : dict
        Its arrays by PyTorch's names.

    Examples
    --------
    >>> from nn import Dense, Model, ReLU
    >>> network = to_torch(Model([Dense(3, input_shape=(2,)), ReLU()]))
    >>> print(network.source[network.source.index("def") :], end="")
    def make_network():
        return nn.Sequential(
            nn.Linear(2, 3),
            nn.ReLU(),
        )
    """

    source: str
    state_dict: dict[str, np.ndarray]

    def __str__(self) -> str:
        return self.source

    def save(self, path: str | os.PathLike) -> None:
        """Write the arrays to a safetensors file, for `safetensors.torch.load_file`.

        Raises
        ------
        ValueError
            If the path does not end in '.safetensors'.
        OSError
            If the file cannot be written.
        """
        path = checks.path("TorchNetwork", "path", path)
        if not os.fspath(path).lower().endswith(".safetensors"):
            raise checks.error(
                "TorchNetwork", "path", "must end in '.safetensors'", os.fspath(path)
            )
        model_file.write(path, model_file.ModelFile(None, self.state_dict))


_SOURCE = '''"""A network made by nn, for PyTorch.

    network = make_network()
    network.load_state_dict(safetensors.torch.load_file("network.safetensors"))
    network.eval()
"""

{imports}


{helpers}def make_network():
    return {code}
'''


def to_torch(model: Any) -> TorchNetwork:
    """Return a model as the source of a PyTorch network and its state dict.

    Layers that PyTorch has no module for, such as `Residual`, are short classes in the source;
    PyTorch is needed to run it, not to make it. The network takes the same inputs as the model,
    but does not scale the bytes of images.

    Parameters
    ----------
    model
        A built model.

    Returns
    -------
    TorchNetwork
        Its `source`, printed by `print`, and its `state_dict`.

    Raises
    ------
    RuntimeError
        If the model is not built.
    ValueError
        For a layer that PyTorch cannot do in the same way; the message names it.

    Examples
    --------
    >>> from nn import Dense, Model
    >>> network = to_torch(Model([Dense(3, input_shape=(2,))]))
    >>> {name: array.shape for name, array in network.state_dict.items()}
    {'0.weight': (3, 2), '0.bias': (3,)}
    """
    from .torch.code import HELPERS, sequential
    from .torch.source import modules_of

    if "forward" in model.own_passes():
        raise ValueError(f"[to_torch] 'model' is a {type(model).__name__} with its own forward().")
    network = sequential(modules_of(model.layers))
    helpers = "".join(HELPERS[n].lstrip() + "\n\n" for n in sorted(network.helpers))
    imports = (
        "import torch\nfrom torch import nn" if "torch." in helpers else "from torch import nn"
    )
    code = network.code.replace("\n", "\n    ")
    source = _SOURCE.format(imports=imports, helpers=helpers, code=code)
    return TorchNetwork(source, dict(network.arrays))
