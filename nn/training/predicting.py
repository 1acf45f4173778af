"""What a model does with inputs alone: `predict` and its kind, as methods of `Model`."""

import contextlib
import functools
from typing import Any

import numpy as np

from .. import checks, compat, cuda, kernels, validation
from ..data import Dataset
from ..data.ranges import Range, doubt_about_range, range_of
from ..layers import finite, fold
from ..layers.masks import Mask
from .averaging import Averaging
from .copies import Copies
from .data import DataAdapter, check_same_names
from .steps import limited

Array = Any  # numpy.ndarray or cupy.ndarray


class Predicting(Averaging):
    """The methods of `Model` for prediction.

    Attributes
    ----------
    input_range : tuple of float or None
        Lowest and highest number of the inputs that `fit` trained on, images of bytes scaled to
        [0, 1]. It is saved with the model. `fit`, `evaluate` and `predict` warn about inputs of
        another range.
    feature_names : list of str or None
        Names of the columns of the table that `fit` trained on, saved with the model. A table with
        others, or with these in another order, is an error in `fit`, `evaluate` and `predict`.
    target_names : list of str or None
        The same for the targets, if they were a table of several columns.
    """

    output_mask: Mask
    input_range: Range | None = None
    feature_names: list[str] | None = None
    target_names: list[str] | None = None

    def warn_of_range(self, found: Range | None) -> None:
        """Warn if inputs of a range are not scaled as those of the training."""
        doubt = doubt_about_range(found, self.input_range, len(self.input_shape or ()) == 4)
        if doubt is not None and self.num_ids is None:  # ids have no scale
            checks.warn(doubt)

    @functools.partial(compat.accepts_other_names, owner="Model.predict", ignored=["verbose"])
    def predict(
        self,
        x: Any,
        batch_size: int = 256,
        *,
        steps: int | None = None,
        augment: str | None = None,
        shifts: int = 0,
    ) -> Array:
        """Return the output for every row of x, on the device of x.

        Nothing is printed; `verbose` is accepted, as in Keras, and ignored.

        Parameters
        ----------
        x
            Inputs of the model's shape, or a `Dataset`. As in `fit`, images of bytes,
            uint8 (n, C, H, W), are scaled to [0, 1]. Or a source of batches as in `fit`, each of
            which is x or begins with x; it is read to its end. A list of arrays that each have the
            model's shape is a list of batches, not several inputs.
        batch_size
            Samples at a time; the result does not depend on it.
        steps
            Batches to read; None for all. A source that never ends needs it.
        augment
            'flip' returns the mean of the outputs for each image and for its mirror image: for
            images whose left and right do not matter. The outputs must be (N, K).
        shifts
            Return the mean with the outputs for the image shifted by so many pixels up and to the
            left, and down and to the right, mirrored at the edge; the image itself counts as much
            as both. With 'flip' each of the three is also mirrored, which takes six times as long.

        Raises
        ------
        ValueError, TypeError
            For inputs that do not fit.
        FloatingPointError
            If the output is NaN or infinite; the message names the layer.

        Notes
        -----
        `augment` and `shifts` are test-time augmentation, or multi-crop evaluation: Krizhevsky,
        Sutskever and Hinton 2012, "ImageNet classification with deep convolutional neural
        networks", section 4.1, average over crops; the copies and weights here are those of Jordan
        2024, arXiv 2404.00498, section 3.5. The mean is that of the model's outputs, of logits if
        it ends in logits.

        Examples
        --------
        >>> import nn
        >>> model = nn.zoo.small_cnn(seed=0)
        >>> images = np.random.default_rng(0).random((4, 1, 28, 28), dtype="float32")
        >>> both = (model.predict(images) + model.predict(images[:, :, :, ::-1])) / 2
        >>> np.allclose(model.predict(images, augment="flip"), both, atol=1e-6)
        True
        """
        batch_size = checks.positive_int("Model", "batch_size", batch_size)
        if steps is not None:
            steps = checks.positive_int("Model", "steps", steps)
        if not self.layers:
            raise ValueError("[Model] has no layers: call add() before predict().")
        copies = Copies(augment, shifts, self.input_shape, self.output_shape)
        is_array = type(x) is np.ndarray and x.dtype.kind in "fiub"  # others may be batches
        stream = None if is_array else DataAdapter(self).inputs(x)
        if stream is not None:
            source = limited(stream, steps, batch_size, "steps")
            batches = source.batches(batch_size, shuffle=False, dtype=self.batch_dtype)
            with contextlib.closing(batches):
                outputs = [cuda.to_cpu(copies.mean(self._predict, x)) for (x,) in batches]
            self.warn_of_range(source.input_range)
            return joined_outputs(outputs)
        x = Dataset(x) if checks.is_sparse(x) else x  # whose rows become dense batch by batch
        if isinstance(x, Dataset):
            if x.y is not None:  # else there are no labels to compare with
                check_same_names(x.class_names, self.class_names)
            found, x = x.input_range, x.x  # not read as a whole: it may lie on the disk
            validation.check_shape(x, self.input_shape)
        else:
            x = validation.check_inputs(x, self.input_shape)
            found = range_of(x)
        x = self._check_inputs(x)
        self.warn_of_range(found)
        back = cuda.to_cpu if cuda.get_array_module(x) is np else cuda.to_gpu
        starts = range(0, max(len(x), 1), batch_size)[:steps]
        outputs = [back(copies.mean(self._predict, x[k : k + batch_size])) for k in starts]
        return cuda.get_array_module(outputs[0]).concatenate(outputs)

    def _predict(self, x: Array) -> Array:
        """Return the output for a batch of the right shape; both must be finite."""
        x = self._cast(x)
        y, _ = self._infer(x)
        if not cuda.all_finite(y):
            raise FloatingPointError(
                f"[Model] the output is not finite: {finite.first_not_finite(self, x)}"
            )
        return y

    def _infer(self, x: Array, keep_logits: bool = False) -> tuple[Array, Mask]:
        if "forward" in self.own_passes():
            self.output_mask = None
            return self.forward(x, training=False if keep_logits else None), self.output_mask
        return fold.run(self.layers, x, keep_logits)

    @functools.partial(
        compat.accepts_other_names, owner="Model.predict_classes", ignored=["verbose"]
    )
    def predict_classes(
        self,
        x: Any,
        batch_size: int = 256,
        *,
        names: bool = False,
        augment: str | None = None,
        shifts: int = 0,
    ) -> Array:
        """Return the likeliest class for every row of x, as integers (n,).

        Outputs (N, T, classes) give the class of each step, (N, T), and images (N, classes, H, W)
        that of each pixel, (N, H, W).

        A single output means class 1 above 0 if it is a logit, else above 0.5. Several outputs
        under binary cross-entropy, or those of a Sigmoid in a model without a loss, are decided
        each: 0 or 1 for each of them, (n, outputs).

        Parameters
        ----------
        x, batch_size
            As for `predict`.
        names
            Whether to return the classes' names, `class_names`, instead of their numbers; if each
            output is decided, for each row a tuple of the names of those that are 1.

        Raises
        ------
        ValueError
            For names if the model has none, or not one for each class.
        """
        known = self.class_names
        if names and known is None:
            raise ValueError(
                "[Model] 'names' needs the names of the classes, and the model has none: set "
                "model.class_names, or fit() a Dataset that has them."
            )
        if names and isinstance(x, Dataset):
            x = x.x  # names are right even if the data number their classes otherwise
        outputs = self.predict(x, batch_size, augment=augment, shifts=shifts)
        count = outputs.shape[kernels.class_axis(outputs.ndim)]
        is_multi_label = fold.decides_each_output(self.layers, self.loss, count)
        classes = fold.decide(outputs, self.threshold, is_multi_label)
        if known is None or not names:
            return classes
        self.class_names = known  # there is one for each output, also after add()
        return fold.named(cuda.to_cpu(classes), known, is_multi_label)

    @functools.partial(compat.accepts_other_names, owner="Model.predict_proba", ignored=["verbose"])
    def predict_proba(
        self, x: Any, batch_size: int = 256, *, augment: str | None = None, shifts: int = 0
    ) -> Array:
        """Return the probability of each class for every row of x, (n, classes), as float64.

        A single output gives two columns, of class 0 and of class 1. If each of several outputs is
        decided, under binary cross-entropy, each column is the probability of its label. Outputs
        of sequences (N, T, classes) and images (N, classes, H, W) keep their shape.

        Parameters
        ----------
        x, batch_size
            As for `predict`.

        Raises
        ------
        ValueError
            If the outputs are not probabilities of classes: for a model that ends neither in
            Softmax nor in Sigmoid and whose loss, if it has one, is no cross-entropy.

        Notes
        -----
        They are the outputs of a model that ends in Softmax or Sigmoid; otherwise its logits go
        through the one that the loss contains. As float64 they sum to 1 to the last digits.

        Examples
        --------
        >>> import nn
        >>> model = nn.Model([nn.Dense(1, input_shape=(2,), kernel_initializer="zeros")], seed=0)
        >>> model.compile("bce")
        >>> model.predict_proba(np.ones((1, 2)))
        array([[0.5, 0.5]])
        """
        activation = fold.missing_activation(self.layers, self.loss)
        if activation is None and not fold.gives_probabilities(self.layers):
            raise ValueError(
                "[Model] predict_proba() needs outputs that are probabilities: end the model in "
                "Softmax or Sigmoid, or compile it with 'cce' or 'bce', whose logits become "
                f"probabilities; got the loss {type(self.loss).__name__}."
            )
        outputs = self.predict(x, batch_size, augment=augment, shifts=shifts).astype(np.float64)
        found = fold.probabilities(outputs, activation)
        axis = kernels.class_axis(found.ndim)
        if found.shape[axis] == 1:
            return cuda.get_array_module(found).concatenate([1 - found, found], axis)
        if fold.decides_each_output(self.layers, self.loss, found.shape[axis]):
            return found
        return found / found.sum(axis=axis, keepdims=True)

    def predict_on_batch(self, x: Any) -> Array:
        """Return what `predict` does for one batch, under Keras' name."""
        return self.predict(x, max(len(x), 1))


def joined_outputs(outputs: list[np.ndarray]) -> np.ndarray:
    """Return the outputs of batches as one array; images of any size may give several shapes."""
    shapes = {y.shape[1:] for y in outputs}
    if len(shapes) > 1:
        rule = f"must give outputs of one shape, got {sorted(shapes)}: predict each batch by itself"
        raise ValueError(f"[Model] 'x' {rule}.")
    return np.concatenate(outputs)
