"""Names that other libraries use, and earlier module names, for what has another name in nn."""

import sys
from types import ModuleType

from .files import model_file
from .inspect import explain, gradcheck, trace
from .optim import schedules

#: Modules by the names under which they can also be imported: `from nn.io import FileFormatError`.
MODULES: dict[str, ModuleType] = {
    "nn.explain": explain,
    "nn.gradcheck": gradcheck,
    "nn.io": model_file,
    "nn.schedules": schedules,
    "nn.trace": trace,
}

sys.modules.update(MODULES)
