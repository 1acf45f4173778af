"""Estimators of scikit-learn that train an `nn.Model`: for pipelines and searches.

scikit-learn 1.6 or later is needed.
"""

import os

from ... import _thread_variables
from .classifier import NNClassifier
from .regressor import NNRegressor

__all__ = ["NNClassifier", "NNRegressor"]

# The libraries of this process have read them. joblib gives each of its processes a share of the
# cores, unless it finds these variables set.
for _name in _thread_variables:
    os.environ.pop(_name, None)
_thread_variables.clear()
