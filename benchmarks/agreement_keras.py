"""What nn does as Keras does, and PyTorch does not: momentum under a changing learning rate."""

import keras
import numpy as np
from agreement_common import draw

import nn

STEPS = 10
SHAPES = ((7, 5), (5,))

# (name, nn's, the arguments of Keras' SGD)
RULES = (
    ("SGD momentum=0.9", lambda lr: nn.optim.SGD(lr, momentum=0.9), {"momentum": 0.9}),
    (
        "SGD momentum=0.9 nesterov",
        lambda lr: nn.optim.SGD(lr, momentum=0.9, nesterov=True),
        {"momentum": 0.9, "nesterov": True},
    ),
    ("SGDMomentum", nn.optim.SGDMomentum, {"momentum": 0.9}),
    ("Nesterov", nn.optim.Nesterov, {"momentum": 0.9, "nesterov": True}),
)


def optimizer_cases(rng):
    """Yield SGD with momentum at the rates of a schedule: the parameters after each step."""
    schedule = nn.schedules.cosine(0.1, STEPS, lr_min=0.01)
    for name, make, arguments in RULES:
        params = [draw(rng, shape) for shape in SHAPES]
        variables = [keras.Variable(param.copy()) for param in params]
        ours, theirs = make(schedule), keras.optimizers.SGD(0.1, **arguments)
        pairs = {}
        for step in range(STEPS):
            grads = [3 * draw(rng, shape) for shape in SHAPES]
            ours.step(list(zip(params, grads, strict=True)))
            theirs.learning_rate = schedule(step)
            tensors = [keras.ops.convert_to_tensor(grad) for grad in grads]
            theirs.apply(tensors, variables)
            for i, (param, variable) in enumerate(zip(params, variables, strict=True)):
                value = np.array(keras.ops.convert_to_numpy(variable.value))
                pairs[f"param {i} after step {step + 1}"] = (param.copy(), value)
        yield f"{name} | with a schedule, Keras", pairs


CASES = (optimizer_cases,)
