"""What a layer does with the mask of padded steps; the base class of `Layer` for it.

Sequences of different lengths are padded to make a batch (N, T, D). A mask (N, T) says which steps
are there. A layer makes it of its input (`nn.layers.masking`), and `stack.forward_through` carries
it on: from layer to layer, and to the loss and the metrics if the output has steps.
"""

from typing import Any

from .. import checks

Array = Any  # numpy.ndarray or cupy.ndarray
Mask = Any  # an array of bools (N, T), True for steps that are there; or None: all are


class MaskRules:
    """What the stack asks a layer about masks; see `Layer`."""

    #: Whether the output for a step depends on that step alone, so that it has the input's mask.
    passes_mask: bool = False

    #: Whether `forward` takes the mask of the input's steps, as its argument `mask`.
    uses_mask: bool = False

    #: Whether the layer may make a mask: it has a method `make_mask`, or layers inside.
    makes_mask: bool = False

    forward: Any

    def __init_subclass__(cls, **kwargs: Any) -> None:
        """Note a `make_mask`; a `forward` of the class's own is not passed by."""
        super().__init_subclass__(**kwargs)
        if "make_mask" in vars(cls):
            cls.makes_mask = True
        if "forward" in vars(cls) and "forward_masked" not in vars(cls):
            cls.forward_masked = MaskRules.forward_masked  # type: ignore[method-assign]

    def make_mask(self, x: Array) -> Mask:
        """Return the mask of an input's steps, (N, T), or None; for layers that make one.

        Parameters
        ----------
        x
            The batch.
        """
        return None

    def mask_after(self, mask: Array) -> Mask:
        """Return the mask of the output's steps: `mask`, that of the input, if `passes_mask`.

        A layer whose output has other steps than its input overrides it; None ends the mask.

        Parameters
        ----------
        mask
            (N, T), True for steps that are there.
        """
        return mask if self.passes_mask else None

    def forward_masked(
        self, x: Array, training: bool | None, mask: Mask = None
    ) -> tuple[Array, Mask]:
        """Return the output for a batch with a mask, and the mask of the output.

        The stack calls it in place of `forward` once there is a mask, and for layers that make one.

        Parameters
        ----------
        x, training
            As for `forward`.
        mask
            (N, T), True for steps that are there; None if all are.

        Raises
        ------
        ValueError
            If the layer neither uses nor passes masks: it may mix padded steps with the others.
        """
        if self.makes_mask:
            mask = joined_masks(mask, self.make_mask(x))
        if mask is None:
            return self.forward(x, training), None
        checks.mask(type(self).__name__, mask, x.shape[:2])
        if self.uses_mask:
            return self.forward(x, training, mask=mask), self.mask_after(mask)
        if not self.passes_mask:
            raise ValueError(
                f"[{type(self).__name__}] cannot take a 'mask', got one of padded steps "
                f"{mask.shape}: it may mix them with the others. End the mask before it, in a "
                "recurrent layer without return_sequences or a global pool; in a class of your own "
                "set passes_mask = True if no step depends on another, or uses_mask = True."
            )
        return self.forward(x, training), self.mask_after(mask)

    def step(self, x: Array, state: Any = None) -> tuple[Array, Any]:
        """Return the output for the next step of sequences alone, and the state after it.

        This one serves layers whose output for a step depends on that step alone; recurrent ones
        and causal ones have their own.

        Parameters
        ----------
        x
            The next step (N, 1, D) of each sequence, or its ids (N, 1).
        state
            What the call for the step before returned; None for the first step.

        Raises
        ------
        ValueError
            For a layer whose output for a step depends on later ones, or a step of padding.
        """
        owner = type(self).__name__
        if not self.passes_mask or self.uses_mask:
            raise ValueError(
                f"[{owner}] has no step(): its output for a step may depend on later steps. Use "
                "recurrent layers without go_backwards, or causal ones."
            )
        mask = self.make_mask(x) if self.makes_mask else None
        if mask is not None and not mask.all():
            raise checks.error(owner, "x", "must hold no padding in step()", x.tolist())
        return self.forward(x, None), state


def joined_masks(*masks: Mask) -> Mask:
    """Return the mask of the steps that are there in all of several masks; None counts as all.

    Examples
    --------
    >>> import numpy as np
    >>> joined_masks(None, np.array([[True, True]]), np.array([[True, False]]))
    array([[ True, False]])
    """
    joined = None
    for mask in masks:
        if mask is not None:
            joined = mask if joined is None else joined & mask
    return joined
