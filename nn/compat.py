"""Names of other libraries, and earlier module names, that nn accepts for its own.

All such names are in these tables: registries (`nn.registry`) add their aliases from here, and
the classes and `Model` translate the names of their arguments (`accept_other_names`).
"""

import difflib
import functools
import importlib
import inspect
import sys
from collections.abc import Callable, Iterable, Mapping
from typing import Any, TypeVar

from . import checks

T = TypeVar("T")

#: Modules by the names under which they can also be imported: `from nn.io import FileFormatError`.
MODULES: dict[str, str] = {
    "nn.explain": "nn.inspect.explain",
    "nn.gradcheck": "nn.inspect.gradcheck",
    "nn.io": "nn.files.model_file",
    "nn.schedules": "nn.optim.schedules",
    "nn.trace": "nn.inspect.trace",
}

#: Layers, as Keras and older NumPy libraries call them.
LAYERS: dict[str, str] = {
    "Affine": "Dense",
    "AveragePooling1D": "AvgPool1D",
    "AveragePooling2D": "AvgPool2D",
    "BatchNormalization": "BatchNorm",
    "GlobalAveragePooling1D": "GlobalAvgPool1D",
    "GlobalAveragePooling2D": "GlobalAvgPool2D",
    "GlobalMaxPooling1D": "GlobalMaxPool1D",
    "GlobalMaxPooling2D": "GlobalMaxPool2D",
    "GroupNormalization": "GroupNorm",
    "LayerNormalization": "LayerNorm",
    "MaxPooling": "MaxPool2D",
    "MaxPooling1D": "MaxPool1D",
    "MaxPooling2D": "MaxPool2D",
    "Pooling2D": "MaxPool2D",
    "Swish": "SiLU",
    "UpSampling2D": "UpSample2D",
    "ZeroPadding2D": "ZeroPad2D",
}

#: Names of PyTorch and Keras that nn does not take, with nn's.
NAMES: dict[str, str] = {
    "BCELoss": 'compile("bce") of a model that ends in nn.Sigmoid()',
    "BCEWithLogitsLoss": 'compile("bce")',
    "BatchNorm3d": "not there: use nn.BatchNorm2D for images, nn.BatchNorm1D for sequences",
    "ConvTranspose2d": "nn.Conv2DTranspose",
    "CrossEntropyLoss": 'compile("cce")',
    "DataLoader": "nn.Dataset, or not needed: fit takes arrays",
    "Dropout2d": "nn.SpatialDropout2D",
    "Input": "the argument input_shape= of the first layer",
    "InputLayer": "the argument input_shape= of the first layer",
    "Linear": "nn.Dense",
    "Module": "nn.Layer, or nn.Model of a list of layers",
    "ModuleList": "nn.Sequential",
    "MultiheadAttention": "nn.MultiHeadAttention",
    "RNN": "nn.SimpleRNN",
    "Upsample": "nn.UpSample2D",
    "functional": "not needed: layers and nn.losses are called by themselves",
    "load_model": "nn.Model.load",
    "models": "nn.Model, or nn.zoo",
    "nn": "this package: write nn.Dense, not nn.nn.Dense",
    "optimizers": "nn.optim",
}

#: Activations by other names.
ACTIVATIONS: dict[str, str] = {"swish": "silu"}

#: Losses, as Keras and the literature call them.
LOSSES: dict[str, str] = {
    "sparse_categorical_crossentropy": "categorical_crossentropy",
    "cce": "categorical_crossentropy",
    "bce": "binary_crossentropy",
    "mean_squared_error": "mse",
    "mean_absolute_error": "mae",
}

#: Metrics, as Keras calls them.
METRICS: dict[str, str] = {"acc": "accuracy"}

#: Arguments of layers, optimizers, losses, callbacks and `Model`, as Keras and PyTorch call them,
#: if they mean the same: `{their name: ours}`. A class takes those whose names of ours it has.
ARGUMENTS: dict[str, tuple[str, ...]] = {
    "alpha": ("negative_slope", "rho"),  # of Keras' LeakyReLU, of PyTorch's RMSprop
    "beta_1": ("beta1",),
    "beta_2": ("beta2",),
    "bias": ("use_bias",),
    "clipvalue": ("clip_value",),
    "dilation_rate": ("dilation",),
    "embedding_dim": ("output_dim",),
    "embeddings_initializer": ("kernel_initializer",),
    "epsilon": ("eps",),
    "filename": ("path",),
    "filepath": ("path",),
    "global_clipnorm": ("clip_norm",),
    "hidden_size": ("units",),
    "kernel_size": ("pool_size",),
    "learning_rate": ("lr",),
    "mask_value": ("value",),
    "merge_mode": ("merge",),
    "min_lr": ("lr_min",),
    "num_embeddings": ("input_dim",),
    "num_groups": ("groups",),
    "out_channels": ("filters",),
    "out_features": ("units",),
    "p": ("rate",),
    "scale_factor": ("size",),
    "std": ("stddev",),
    "strides": ("stride",),
    "x": ("data",),
}

_INFERRED = "is inferred from the first batch or input_shape: leave it out"
_NOT_NEEDED = "is not needed: leave it out"

#: Arguments of Keras and PyTorch that nn has under no name, with the way to the same.
ELSEWHERE: dict[str, str] = {
    "axis": "is fixed, as channels are axis 1 and images (N, C, H, W): leave it out",
    "betas": "is a pair: pass beta1= and beta2=",
    "batch_first": "is fixed, as sequences are (N, T, D): leave it out",
    "clipnorm": "bounds each gradient; compile(clip_norm=) bounds all of them together",
    "clipvalue": "is compile(clip_value=)",
    "bidirectional": "is a layer: use nn.Bidirectional(layer)",
    "dropout": "is a layer: put nn.Dropout before this one",
    "recurrent_activation": "is fixed, as the gates of recurrent layers are sigmoids: leave it out",
    "recurrent_dropout": "is not there: put nn.Dropout before this layer",
    "return_state": "is not there: return_sequences=True returns the state of each step",
    "stateful": "is not there, as each sequence begins at zeros: leave it out",
    "time_major": "is fixed, as sequences are (N, T, D): leave it out",
    "unroll": _NOT_NEEDED,
    **dict.fromkeys(
        ("bias", "use_bias"),
        "is fixed, as recurrent layers and normalization always learn a bias, and layers without a "
        "kernel have none: leave it out",
    ),
    "affine": "is fixed, as scale and shift are always learned: leave it out",
    "amsgrad": "is not there: leave it out",
    "compile": "is not needed, as a file says how its model was compiled: leave it out",
    "custom_objects": "is not needed: register classes, by nn.register for layers",
    "data_format": "is fixed, as images are (N, C, H, W): pass x.transpose(0, 3, 1, 2)",
    "device": "is the model's: call model.to_gpu() or model.to_cpu()",
    "dim": "is fixed, as classes and channels are axis 1, of sequences the last: leave it out",
    "dtype": "is the model's: pass Model(dtype=)",
    "embed_dim": _INFERRED,
    "ema_momentum": "is compile(ema_decay=)",
    "from_logits": "is not needed, as losses take logits, and those of a final Softmax or Sigmoid: "
    "leave it out",
    "global_clipnorm": "is compile(clip_norm=)",
    "in_channels": _INFERRED,
    "in_features": _INFERRED,
    "inplace": _NOT_NEEDED,
    "jit_compile": _NOT_NEEDED,
    "initial_value_threshold": "is not there: use EarlyStopping(baseline=) or save_best_only=False",
    "input_length": _INFERRED,
    "input_size": _INFERRED,
    "input_dim": "is the shape of a sample: pass input_shape=(...)",
    "max_queue_size": "is not needed: fit(num_threads=) prepares batches",
    "normalized_shape": _INFERRED,
    "nb_epoch": "is epochs=",
    "num_channels": _INFERRED,
    "num_features": _INFERRED,
    "period": "is every_n_epochs=",
    "num_layers": "is 1: pass several layers, all but the last with return_sequences=True",
    "reduction": "is fixed, as losses are the mean over samples: leave it out",
    "return_dict": "is not needed, as figures are returned as a dict: leave it out",
    "run_eagerly": _NOT_NEEDED,
    "steps_per_execution": _NOT_NEEDED,
    "threshold": "is model.threshold for classes; of plateaus it is min_delta=, which is absolute",
    "track_running_stats": "is fixed, as running averages are always kept: leave it out",
    "use_ema": "is compile(ema_decay=)",
    "use_multiprocessing": "is not needed: fit(num_threads=) prepares batches",
    "validation_batch_size": _NOT_NEEDED,
    "validation_freq": "is fixed, as validation follows each epoch: leave it out",
    "verbose": "is an argument of fit(): leave it out",
    "weight_decay": "is compile(weight_decay=)",
    "workers": "is fit(num_threads=)",
}


def unknown_argument(owner: str, name: str, known: Iterable[str]) -> ValueError:
    """Return the error for an argument that a function does not have.

    Examples
    --------
    >>> print(unknown_argument("Conv2D", "data_format", ["filters"]))
    [Conv2D] 'data_format' is fixed, as images are (N, C, H, W): pass x.transpose(0, 3, 1, 2).
    """
    if name in ELSEWHERE:
        return ValueError(f"[{owner}] {name!r} {ELSEWHERE[name]}.")
    return checks.unknown(owner, "argument", name, known)


def aliases_of(names: Iterable[str]) -> dict[str, str]:
    """Return other libraries' names of these arguments: `{their name: ours}`.

    Examples
    --------
    >>> aliases_of(["lr", "momentum"])
    {'learning_rate': 'lr'}
    """
    names = set(names)
    return {
        alias: ours
        for alias, candidates in ARGUMENTS.items()
        for ours in candidates
        if ours in names and alias not in names
    }


def renamed(owner: str, arguments: dict[str, Any], aliases: Mapping[str, str]) -> dict[str, Any]:
    """Return keyword arguments under nn's names.

    Parameters
    ----------
    owner
        The class that an error names.
    arguments
        Values by name.
    aliases
        `{alias: name}`.

    Raises
    ------
    ValueError
        If an argument is given under two names.

    Examples
    --------
    >>> renamed("Adam", {"learning_rate": 0.1, "beta1": 0.8}, aliases_of(["lr", "beta1"]))
    {'lr': 0.1, 'beta1': 0.8}
    """
    given: dict[str, Any] = {}
    for argument, value in arguments.items():
        name = aliases.get(argument, argument)
        if name in given or (name != argument and name in arguments):
            rule = f"is another name of {name!r}: give one of them"
            raise checks.error(owner, argument, rule, value)
        given[name] = value
    return given


def accepts_other_names(
    function: Callable[..., T], owner: str = "", ignored: Iterable[str] = ()
) -> Callable[..., T]:
    """Return a method that takes the other names of its arguments too, with errors that name ours.

    Parameters
    ----------
    function
        The method. Its arguments after `*` must be passed by name.
    owner
        What an error names; the class of the object if it is left out.
    ignored
        Arguments of other libraries that are accepted and have no effect.
    """
    parameters = inspect.signature(function).parameters.values()
    names = {p.name for p in parameters}
    by_position = [p.name for p in parameters if p.kind is p.POSITIONAL_OR_KEYWORD][1:]
    takes_more = {p.kind for p in parameters} & {inspect.Parameter.VAR_POSITIONAL}
    takes_any = any(p.kind is p.VAR_KEYWORD for p in parameters)
    by_name = [p.name for p in parameters if p.kind is p.KEYWORD_ONLY]
    aliases, ignored = aliases_of(names), set(ignored)

    @functools.wraps(function)
    def call(self: Any, *arguments: Any, **options: Any) -> T:
        named = owner or type(self).__name__
        if len(arguments) > len(by_position) and by_name and not takes_more:
            raise TypeError(
                f"[{named}] {', '.join(map(repr, by_name))} must be passed by name, got "
                f"{arguments[len(by_position)]!r} by position."
            )
        if options.keys() <= names:
            return function(self, *arguments, **options)
        options = {name: value for name, value in options.items() if name not in ignored}
        positional = dict(zip(by_position, arguments, strict=False))
        options = renamed(named, {**positional, **options}, aliases)
        for name in options.keys() - names:
            if not takes_any:
                raise TypeError(str(unknown_argument(named, name, names - {"self"})))
        return function(
            self, *arguments, **{k: v for k, v in options.items() if k not in positional}
        )

    return call


def accept_other_names(cls: type) -> None:
    """Let the constructor of a class take the other names of its arguments too."""
    if "__init__" in vars(cls):
        cls.__init__ = accepts_other_names(vars(cls)["__init__"])  # type: ignore[misc]


def missing_name(name: str, known: Mapping[str, Any]) -> AttributeError:
    """Return the error for a name that the package does not have; it gives nn's, if there is one.

    Parameters
    ----------
    name
        The name.
    known
        What the package has. The public names of its modules count too.

    Examples
    --------
    >>> import nn
    >>> print(missing_name("Linear", vars(nn)))
    module 'nn' has no attribute 'Linear': it is nn.Dense.
    >>> print(missing_name("Adam", vars(nn)))
    module 'nn' has no attribute 'Adam': it is nn.optim.Adam.
    """
    places = {n: f"nn.{n}" for n, value in known.items() if n[:1].isalpha()}
    for module in ("data", "optim", "callbacks", "losses", "metrics", "exchange"):
        for inner in getattr(known.get(module), "__all__", ()):
            places.setdefault(inner, f"nn.{module}.{inner}")
    alike = {other.lower(): place for other, place in places.items()}
    place = NAMES.get(name) or places.get(name) or alike.get(name.lower())
    nearest = difflib.get_close_matches(name, places, n=1, cutoff=0.8)
    hint = f": it is {place}." if place else ""
    if nearest and not place:
        hint = f": did you mean {places[nearest[0]]}?"
    return AttributeError(f"module 'nn' has no attribute {name!r}{hint}", name=name)


def import_aliases() -> None:
    """Make every module of `MODULES` importable under its other name."""
    for alias, name in MODULES.items():
        sys.modules[alias] = importlib.import_module(name)
