"""What happens around training: each callback is told of every epoch and batch.

`Model.fit` writes its history, shows its progress, lowers the learning rate and stops early
through these classes and nothing else. They use the model's public attributes only, so your
own can do the same.

- `base`: `Callback`, which yours subclasses, and how `fit` calls it;
- `control`: callbacks that change the course of training, or save the model on its way;
- `progress`: what `fit` shows of itself, in a terminal, a notebook or a file;
- `recording`: callbacks that write down figures;
- `layer_stats`: what goes on in each layer, with warnings of dead ReLUs and exploding gradients.

A callback takes the names of Keras' methods; a method may leave out the arguments at its end
that it does not need:

>>> class Shout(Callback):
...     def on_epoch_end(self, epoch):
...         print(f"EPOCH {epoch + 1}!")
>>> import numpy as np, nn
>>> model = nn.Model([nn.Dense(1, input_shape=(2,))], seed=0)
>>> model.compile("mse", "sgd")
>>> history = model.fit(np.ones((4, 2)), np.ones((4, 1)), epochs=2, callbacks=Shout(), verbose=0)
EPOCH 1!
EPOCH 2!

One that remembers something over the epochs returns it from `get_state` and takes it back in
`set_state`: it is saved with the model while training, and `fit(resume=...)` gives it back.
"""

from .base import Callback, History, LambdaCallback
from .base import CallbackList as CallbackList  # these four are what `fit` needs
from .base import Logs as Logs
from .base import score as score
from .control import (
    EarlyStopping,
    LearningRateScheduler,
    ModelCheckpoint,
    ReduceLROnPlateau,
    TerminateOnNaN,
)
from .control import optimizer_steps as optimizer_steps
from .layer_stats import LayerStats
from .progress import ProgressBar
from .progress import format_logs as format_logs
from .recording import CSVLogger, TensorBoard, Timer

__all__ = [
    "CSVLogger",
    "Callback",
    "EarlyStopping",
    "History",
    "LambdaCallback",
    "LayerStats",
    "LearningRateScheduler",
    "ModelCheckpoint",
    "ProgressBar",
    "ReduceLROnPlateau",
    "TensorBoard",
    "TerminateOnNaN",
    "Timer",
]
