"""Callbacks: objects whose methods `fit` calls before and after every epoch and batch.

`Model.fit` writes its history, shows its progress, lowers the learning rate and stops early
through these classes alone. They use the model's public attributes only, so your own callbacks
can do the same.

- `base`: `Callback`, the base class, and the list through which `fit` calls callbacks;
- `control`: callbacks that change the course of training;
- `checkpoint`: saves the model while it trains;
- `progress`: the progress bar, in a terminal, a notebook or a file;
- `recording`: callbacks that write figures to files;
- `layer_stats`: figures of each layer, with warnings of dead ReLUs and exploding gradients;
- `film`: an animated GIF of what changes while a model trains.

The methods have Keras' names; a method may leave out the arguments at its end that it does not
need:

>>> class Shout(Callback):
...     def on_epoch_end(self, epoch):
...         print(f"EPOCH {epoch + 1}!")
>>> import numpy as np, nn
>>> model = nn.Model([nn.Dense(1, input_shape=(2,))], seed=0)
>>> model.compile("mse", "sgd")
>>> history = model.fit(np.ones((4, 2)), np.ones((4, 1)), epochs=2, callbacks=Shout(), verbose=0)
EPOCH 1!
EPOCH 2!

A callback that keeps something over the epochs returns it from `state_dict` and takes it again in
`load_state_dict`: it is saved with the model while training, and loaded by `fit(resume=...)`.
"""

from .base import Callback, History, LambdaCallback
from .base import CallbackList as CallbackList  # used by `fit`
from .base import Logs as Logs
from .base import score as score
from .checkpoint import ModelCheckpoint
from .control import (
    EarlyStopping,
    LearningRateScheduler,
    ReduceLROnPlateau,
    TerminateOnNaN,
)
from .control import optimizer_steps as optimizer_steps
from .film import Film
from .layer_stats import LayerStats
from .progress import ProgressBar
from .progress import format_logs as format_logs
from .recording import CSVLogger, TensorBoard, Timer

__all__ = [
    "CSVLogger",
    "Callback",
    "EarlyStopping",
    "Film",
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
