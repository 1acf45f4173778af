"""What a model does with files: `save`, `load` and its training state, as methods of `Model`."""

import functools
import os
from typing import Any

from .. import callbacks as cb
from .. import checks, compat, cuda, losses, optim, random, validation
from ..data.text.vocabulary import Vocabulary
from ..exchange import formats
from ..layers.budget import budget_for
from . import foreign, model_file, training_state

Array = Any  # numpy.ndarray or cupy.ndarray


class Saving:
    """The methods of `Model` that write and read files, and the state that they write."""

    _pending: tuple[Any, ...] | None  # arrays of a file, until the model is built
    _vocabulary: Vocabulary | None = None

    @property
    def vocabulary(self: Any) -> Vocabulary | None:
        """The words or characters that the ids stand for; None if there are none."""
        return self._vocabulary

    @vocabulary.setter
    def vocabulary(self: Any, vocabulary: Vocabulary | None) -> None:
        if not isinstance(vocabulary, Vocabulary | None):
            raise checks.error("Model", "vocabulary", "must be a Vocabulary or None", vocabulary)
        if vocabulary is not None and self.num_ids not in (None, len(vocabulary)):
            rule = f"must have the {self.num_ids} ids of the model's Embedding"
            raise checks.error("Model", "vocabulary", rule, vocabulary)
        self._vocabulary = vocabulary

    def training_state(self: Any) -> dict[str, Any]:
        """Return all that training changes, as `save` writes it; not copies of the weights.

        Returns
        -------
        dict
            'weights' by their names in a file, 'optimizer', 'set_aside', 'accumulator',
            'history', 'epoch', 'split_seed' and 'generators'; while `fit` runs also the entries of
            `Progress.state_dict`.
        """
        optimizer = self.wrapped_optimizer
        return {
            "weights": self.get_arrays(),
            "optimizer": {} if optimizer is None else optimizer.state_dict(),
            "set_aside": dict(self.set_aside or {}),
            "accumulator": self.accumulator.state_dict(self.trained_names),
            "history": dict(self.history),
            "epoch": self.epoch,
            "split_seed": self.split_seed,
            "generators": [rng.bit_generator.state for rng in self.generators],
            **({} if self.progress is None else self.progress.state_dict()),
        }

    def load_training_state(self: Any, state: dict[str, Any], where: str = "state") -> None:
        """Go on from the `training_state` of a model with the same layers.

        Parameters
        ----------
        state
            The state. The optimizer's is loaded if it is not empty and the model is compiled.
        where
            The file it comes from, for messages.

        Raises
        ------
        ValueError, TypeError
            For a state that does not fit. Nothing is changed then.
        """
        model_file.match_arrays(self.get_arrays(), state["weights"], where)
        generators = self._checked_generators(state)
        aside, accumulator = self._checked_waiting(state, where)
        self._load_optimizer(state["optimizer"])  # the last that may refuse the state
        self.set_arrays(state["weights"], where)
        self.set_aside = aside
        self.accumulator.load_state_dict(accumulator)
        self._set_past(state, generators)

    def _checked_generators(self: Any, state: dict[str, Any]) -> list[Any]:
        """Return the states of the generators if those of this model can take them."""
        own, states = self.generators, state["generators"]
        if len(states) != len(own):
            raise TypeError(f"'generators' holds {len(states)} states for {len(own)}")
        return [random.checked_state(rng, s) for rng, s in zip(own, states, strict=True)]

    def _set_past(self: Any, state: dict[str, Any], generators: list[Any]) -> None:
        """Set history, epoch, the seed of the split and every generator."""
        for rng, generator in zip(self.generators, generators, strict=True):
            rng.bit_generator.state = generator
        self.history, self.epoch = cb.History(state["history"]), state["epoch"]
        self.split_seed = state["split_seed"]

    def _checked_waiting(
        self: Any, state: dict[str, Any], where: str
    ) -> tuple[Any, dict[str, Any]]:
        """Return the weights set aside and the accumulated gradients, if they fit the model."""
        own, accumulator = self.get_arrays(), state["accumulator"]
        aside, sums = state["set_aside"], accumulator["sums"]
        for found in (aside, sums):
            model_file.match_arrays({k: own[k] for k in found if k in own}, found, where)
        aside = {name: array.copy() for name, array in aside.items()} or None
        names = self.trained_names
        if not sums or not sums.keys() >= set(names):  # other layers are trained now
            return aside, {"batches": 0, "samples": 0, "sums": {}}
        counts = {key: accumulator[key] for key in ("batches", "samples")}
        sums = {name: cuda.to_device(sums[name], self.device) for name in names}
        return aside, {**counts, "sums": sums}

    def _load_optimizer(self: Any, state: dict[str, Array]) -> None:
        """Load the optimizer's state; arrays of a wrong shape are errors here, not in a step."""
        optimizer = self.wrapped_optimizer
        own = {} if optimizer is None or optimizer.has_own_step else self.get_arrays()
        for key, array in state.items():
            name = key.partition("/")[2]  # of 'm/7_Dense_W'
            if name in own and array.shape != own[name].shape:
                raise ValueError(f"'{key}' has the shape {array.shape}, not {own[name].shape}")
        if state and optimizer is not None:  # perhaps of another set of trained layers
            optimizer.load_state_dict(state, strict=False)

    def _forget_last_layer(self: Any) -> None:
        """Drop the state of the last layer, as of '7_Dense' that of '7_Dense_W'.

        These are its optimizer state, its weights set aside, and all accumulated gradients. A
        layer that replaces it may have the same name.
        """
        path = f"{len(self.layers) - 1}_{type(self.layers[-1]).__name__}"
        optimizer, gone = self.wrapped_optimizer, (f"{path}_", f"{path}/")
        self.accumulator.clear()
        if self.set_aside is not None:
            aside = self.set_aside.items()
            self.set_aside = {name: array for name, array in aside if not name.startswith(gone)}
        if optimizer is not None and optimizer.iterations:
            state = optimizer.state_dict()  # keys as 'm/7_Dense_W' and 'm/7_Residual/0_Conv2D_W'
            kept = {k: v for k, v in state.items() if not k.partition("/")[2].startswith(gone)}
            optimizer.load_state_dict(kept, strict=False)  # layers that are frozen keep theirs

    # --------------------------------------------------------------------------------- files

    @functools.partial(compat.accepts_other_names, owner="Model.save")
    def save(
        self: Any,
        path: str | os.PathLike,
        include_optimizer: bool = True,
        dtype: str | None = None,
    ) -> None:
        """Write the whole model to one file: NPZ or safetensors if the name ends so, else HDF5.

        Parameters
        ----------
        path
            The file; an old one is replaced only once the new one is whole.
        include_optimizer
            Whether to write what is needed to train on: the optimizer with its state, the
            metrics, the history and the generators. The loss is always written, as the decisions
            of `predict_classes` depend on it.
        dtype
            To store the weights as 'float16', or as 'bfloat16' in safetensors, in half the space:
            they are rounded, and read in the dtype of the model. None stores them as they are. The
            optimizer's state is never rounded.

        Raises
        ------
        RuntimeError
            For a model that is not built.
        ValueError
            For the suffix of a format that nn does not write, such as '.pt', or a weight that is
            too large for `dtype`.
        """
        if not self.built:
            raise RuntimeError("[Model] has no weights to save: build() or fit() it first.")
        dtype = model_file.check_dtype("Model", checks.path("Model", "path", path), dtype)
        architecture = {
            "name": self.name,
            "dtype": self.dtype,
            "input_shape": self.input_shape,
            "class_names": validation.fitting_class_names(self.class_names, self.output_shape),
            "vocabulary": None if self.vocabulary is None else self.vocabulary.to_config(),
            "input_range": self.input_range,
            "feature_names": self.feature_names,
            "target_names": self.target_names,
            "loss": training_state.config_of(self.loss, losses.NAME2LOSS),
            "layers": [layer.to_config() for layer in self.layers],
        }
        if "forward" in self.own_passes():
            architecture["class"] = type(self).__name__
        state = self.training_state() if include_optimizer else {"weights": self.get_arrays()}
        compiled = self.compiled_config() if include_optimizer else None
        content = training_state.to_file(architecture, state, compiled)
        formats.write(path, content, self.layers, dtype)

    def compiled_config(self: Any) -> dict[str, Any]:
        """Return what `compile` was called with, as JSON can write it."""
        return {
            "loss": training_state.config_of(self.loss, losses.NAME2LOSS),
            "optimizer": training_state.config_of(self.optimizer, optim.NAME2OPTIMIZER),
            "schedule": getattr(self.wrapped_optimizer, "schedule", None) is not None,
            "metrics": [{"name": m.label, "threshold": m.threshold} for m in self.metrics],
        }

    @classmethod
    @functools.partial(compat.accepts_other_names, owner="Model.load")
    def load(cls, path: str | os.PathLike, external_data: str | os.PathLike | None = None) -> Any:
        """Return the model in a file of `save`, compiled and trained as it was.

        Files of Keras (.keras, .h5) and ONNX are read too, if they hold a stack of layers that nn
        has; so is `weights.hdf5` next to a `weights.json`, as older NumPy libraries write them:
        without an input shape in it the arrays are assigned when the first batch comes.

        Parameters
        ----------
        path
            The file.
        external_data
            The second file of a model of ONNX that has its arrays in two, in the same folder. It
            is opened only if it is passed.

        Raises
        ------
        FileNotFoundError
            If there is no such file.
        nn.io.FileFormatError
            For a damaged or foreign file, or one that holds no architecture.
        ValueError
            For a layer class that is not registered, or arrays that do not fit the layers.
        """
        if external_data is not None:
            external_data = checks.path("Model", "external_data", external_data)
        content = formats.read(checks.path("Model", "path", path), external_data)
        if content.architecture is None:
            content.architecture = model_file.read_layers_json(path)
        with training_state.refusing_nonsense(path):
            with budget_for(content.arrays):
                layers = training_state.layers_of(content, path)
                given = content.architecture or {}
                if given.get("class") not in (None, cls.__name__):
                    raise ValueError(f"it holds a {given['class']} with a forward() of its own")
                model: Any = cls(  # type: ignore[call-arg]
                    layers,
                    dtype=given.get("dtype", "float32"),
                    name=given.get("name"),
                )
                if given.get("input_shape") is not None:
                    model.build(given["input_shape"])
            model.class_names = given.get("class_names")
            model.vocabulary = training_state.vocabulary_of(content)
            model.input_range = content.input_range
            model.feature_names = given.get("feature_names")
            model.target_names = given.get("target_names")
            model.loss = training_state.loss_of(given.get("loss"))
        if model.built:
            model.set_arrays(content.arrays, str(path))
        else:
            model._pending = (content.arrays, str(path), True)
        if content.training is not None:
            with training_state.refusing_nonsense(path):
                model._compile_as_saved(content, str(path))
        return model

    def _compile_as_saved(self: Any, content: model_file.ModelFile, path: str) -> None:
        """Compile a loaded model as it was; ask for the user's parts if some are not nn's own."""
        state, saved = training_state.state_of(content), content.training or {}
        self._set_past(state, self._checked_generators(state))
        if saved["loss"] is None or saved["optimizer"] is None:
            return
        try:
            arguments = training_state.compiled_of(saved)
        except ValueError as error:
            checks.warn(
                f"[Model] '{path}' was loaded but not compiled, as it uses a custom loss, metric "
                f"or optimizer: {error} Call compile() with it."
            )
            return
        if saved.get("schedule"):
            checks.warn(
                f"[Model] '{path}' was trained with a function for its learning rate, which a "
                f"file cannot hold: it is {arguments['optimizer'].lr} now, set optimizer.lr to the "
                "function."
            )
        self.compile(**arguments)
        self._load_optimizer(state["optimizer"])
        self.set_aside, accumulator = self._checked_waiting(state, path)
        self.accumulator.load_state_dict(accumulator)

    @functools.partial(compat.accepts_other_names, owner="Model.save_weights")
    def save_weights(self: Any, path: str | os.PathLike, dtype: str | None = None) -> None:
        """Write the parameters and buffers alone; `dtype` as in `save`."""
        if not self.built:
            raise RuntimeError("[Model] has no weights to save: build() or fit() it first.")
        foreign.check_suffix("Model", checks.path("Model", "path", path))
        dtype = model_file.check_dtype("Model", path, dtype)
        weights = {name: cuda.to_cpu(array) for name, array in self.get_arrays().items()}
        model_file.write(path, model_file.ModelFile(None, weights), dtype)

    @functools.partial(compat.accepts_other_names, owner="Model.load_weights")
    def load_weights(
        self: Any, path: str | os.PathLike, strict: bool = True, layout: str | None = None
    ) -> model_file.LoadReport:
        """Read parameters and buffers into this model.

        The running averages of `compile(ema_decay=...)` go on from what is read. All other
        optimizer state stays as it is: call `compile` again to start without it. A model without
        class names, vocabulary and range of inputs takes those of a file of `save`, unless
        `strict` is False.

        Parameters
        ----------
        path
            A file of `save` or `save_weights`, or a state dict of PyTorch in a file of
            `torch.save`; see `nn.exchange.from_torch`.
        strict
            Whether a missing, extra or wrongly shaped array is an error; else what fits is
            loaded.
        layout
            'torch' for a file of another format, such as safetensors, in which the arrays have
            PyTorch's names and shapes.

        Returns
        -------
        LoadReport
            The names that were loaded, and those that were skipped with the reason; printed, it
            is a list. For a model that is not built yet it is filled in when it is.

        Raises
        ------
        FileNotFoundError
            If there is no such file.
        nn.io.FileFormatError
            For a damaged file, or one of another kind.
        RuntimeError
            For weights of PyTorch and a model that is not built.
        ValueError
            If `strict` and the arrays do not fit the model; nothing is changed then.
        """
        path = checks.path("Model", "path", path)
        content, report = formats.read_weights(path, self.layers, layout, strict)
        self._load_arrays(content.arrays, report, strict)
        names = (content.architecture or {}).get("class_names")
        if strict and self.class_names is None:
            self.class_names = validation.fitting_class_names(names, self.output_shape)
        if strict and self.vocabulary is None:
            with training_state.refusing_nonsense(path):
                self.vocabulary = training_state.vocabulary_of(content)
        if strict and self.input_range is None:
            self.input_range = content.input_range
        for columns in ("feature_names", "target_names"):
            if strict and getattr(self, columns) is None:
                setattr(self, columns, (content.architecture or {}).get(columns))
        return report

    def _load_arrays(
        self: Any, arrays: dict[str, Array], report: model_file.LoadReport, strict: bool
    ) -> None:
        """Set the arrays and the averages of them; later, if the model is not built."""
        if not self.built:
            self._pending = (arrays, report.where, strict, report)
            return
        self.set_arrays(arrays, report.where, strict, report)
        if self.wrapped_optimizer is not None:
            averages, own = self.wrapped_optimizer.averages, self.get_arrays()
            averages.update({k: own[k].copy() for k in report.loaded if k in averages})
