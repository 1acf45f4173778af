"""What Keras has and PyTorch has not: Lion, and momentum under a changing learning rate."""

import keras
import numpy as np
from agreement_common import draw

import nn

STEPS = 10
SHAPES = ((7, 5), (5,))

SGD = keras.optimizers.SGD
DECAY = 0.05  # of weights, not of biases

# (name, nn's, Keras', its arguments)
RULES = (
    ("SGD momentum=0.9", lambda lr: nn.optim.SGD(lr, momentum=0.9), SGD, {"momentum": 0.9}),
    (
        "SGD momentum=0.9 nesterov",
        lambda lr: nn.optim.SGD(lr, momentum=0.9, nesterov=True),
        SGD,
        {"momentum": 0.9, "nesterov": True},
    ),
    ("SGDMomentum", nn.optim.SGDMomentum, SGD, {"momentum": 0.9}),
    ("Nesterov", nn.optim.Nesterov, SGD, {"momentum": 0.9, "nesterov": True}),
    ("Lion", nn.optim.Lion, keras.optimizers.Lion, {}),
    (
        "Lion weight_decay",
        lambda lr: nn.optim.Lion(lr, beta1=0.8, beta2=0.9, weight_decay=DECAY),
        keras.optimizers.Lion,
        {"beta_1": 0.8, "beta_2": 0.9, "weight_decay": DECAY},
    ),
)


def optimizer_cases(rng):
    """Yield each rule at the rates of a schedule: the parameters after each step."""
    schedule = nn.schedules.cosine(0.1, STEPS, lr_min=0.01)
    for name, make, make_keras, arguments in RULES:
        params = [draw(rng, shape) for shape in SHAPES]
        variables = [keras.Variable(param.copy()) for param in params]
        ours, theirs = make(schedule), make_keras(0.1, **arguments)
        if "weight_decay" in arguments:
            theirs.exclude_from_weight_decay([v for v in variables if v.ndim < 2])
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
