"""What of nn is compared with which function of another library, and what has no counterpart.

`torch_agreement.py --list` prints it. A run of that script fails where a name here has no case, and
`tests/test_agreement_list.py` where a public name of nn is not here, so the table cannot go stale.
"""

# group -> {nn's name: what it is compared with, and how the two differ in convention}
COUNTERPARTS = {
    "layers": {
        "Activation": "each activation below, given as an object",
        "AvgPool1D": "torch avg_pool1d(count_include_pad=False)",
        "AvgPool2D": "torch avg_pool2d(count_include_pad=False)",
        "BatchNorm": "torch batch_norm; its momentum is 1 minus ours",
        "BatchNorm1D": "torch batch_norm; its momentum is 1 minus ours",
        "BatchNorm2D": "torch batch_norm; its momentum is 1 minus ours",
        "Bidirectional": "torch LSTM(bidirectional=True)",
        "Conv1D": "torch conv1d; 'same' is padded as TensorFlow does, 'causal' before the sequence",
        "Conv2D": "torch conv2d; 'same' is padded as TensorFlow does, the odd pixel at the end",
        "Conv2DTranspose": "torch conv_transpose2d; 'same' and 'valid' have TensorFlow's sizes",
        "Dense": "torch x @ W + b; nn.Linear keeps W transposed",
        "DepthwiseConv2D": "torch conv2d with as many groups as channels",
        "ELU": "torch elu",
        "Embedding": "torch embedding",
        "Exponential": "torch exp",
        "Flatten": "torch flatten(1)",
        "GELU": "torch gelu, the exact one",
        "GRU": "torch GRU, whose gates are r, z, h; keras GRU for both forms",
        "GlobalAvgPool1D": "torch mean over T",
        "GlobalAvgPool2D": "torch mean over H and W",
        "GlobalMaxPool1D": "torch amax over T",
        "GlobalMaxPool2D": "torch adaptive_max_pool2d(1)",
        "GroupNorm": "torch group_norm",
        "HardSigmoid": "torch hardsigmoid",
        "LSTM": "torch LSTM, keras LSTM",
        "LayerNorm": "torch layer_norm over the last axis, all axes of images, or those given",
        "LeakyReLU": "torch leaky_relu",
        "LogSoftmax": "torch log_softmax",
        "Masking": "torch packed sequences, through an LSTM",
        "MaxPool1D": "torch max_pool1d",
        "MaxPool2D": "torch max_pool2d",
        "Mish": "torch mish",
        "MultiHeadAttention": "torch MultiheadAttention",
        "PReLU": "torch prelu",
        "PositionalEmbedding": "torch x + W[:T]",
        "ReLU": "torch relu",
        "ReLU6": "torch relu6",
        "Recompute": "torch checkpoint",
        "Rescale": "torch arithmetic, as Keras' Rescaling",
        "Reshape": "torch reshape",
        "Residual": "torch x + layers(x)",
        "SkipConcat": "torch cat((x, layers(x)), 1)",
        "SELU": "torch selu",
        "Sequential": "torch functions one after the other",
        "SiLU": "torch silu",
        "Sigmoid": "torch sigmoid",
        "SimpleRNN": "torch RNN, keras SimpleRNN",
        "SinusoidalPositions": "torch arithmetic",
        "Softmax": "torch softmax",
        "Softplus": "torch softplus",
        "Softsign": "torch softsign",
        "Standardize": "torch batch_norm of given statistics with eps=0",
        "Tanh": "torch tanh",
        "UpSample2D": "torch interpolate(align_corners=False)",
        "WeightNorm": "torch _weight_norm, of its parametrization",
        "ZeroPad2D": "torch pad",
    },
    "losses": {
        "BinaryCrossentropy": "torch binary_cross_entropy_with_logits",
        "CategoricalCrossentropy": "torch cross_entropy; with class weights it divides by their "
        "sum, nn by the number of samples",
        "Hinge": "torch multi_margin_loss times the number of classes",
        "Huber": "torch huber_loss",
        "KLDivergence": "torch kl_div(log(p), t, reduction='batchmean')",
        "MeanAbsoluteError": "torch l1_loss",
        "MeanSquaredError": "torch mse_loss",
    },
    "metrics": {
        "AUC": "sklearn roc_auc_score",
        "Accuracy": "sklearn accuracy_score, keras SparseCategoricalAccuracy, torch argmax",
        "F1": "sklearn f1_score(average='macro'), keras F1Score",
        "MeanAbsoluteError": "sklearn mean_absolute_error, keras, torch l1_loss",
        "MeanSquaredError": "sklearn mean_squared_error, keras, torch mse_loss",
        "Precision": "sklearn precision_score(average='macro'), keras Precision",
        "R2": "sklearn r2_score, keras R2Score",
        "Recall": "sklearn recall_score(average='macro'), keras Recall",
        "TopKAccuracy": "sklearn top_k_accuracy_score, keras, torch topk",
        "confusion_matrix": "sklearn confusion_matrix, torch bincount",
    },
    "optimizers": {
        "Accumulator": "torch gradients added up, each counted by its samples",
        "Adagrad": "torch Adagrad",
        "Adam": "torch Adam",
        "AdamW": "torch AdamW, its decay for weights alone",
        "Lion": "keras Lion, its decay for weights alone",
        "Nadam": "torch NAdam",
        "Nesterov": "torch SGD(nesterov=True), keras SGD under a schedule",
        "RMSprop": "torch RMSprop(alpha=rho)",
        "SGD": "torch SGD; under a schedule its velocity is Keras', with each gradient times its "
        "own step's rate",
        "SGDMomentum": "torch SGD(momentum=0.9), keras SGD under a schedule",
    },
    "schedules": {
        "by_epoch": "torch StepLR, stepped once an epoch",
        "cosine": "torch CosineAnnealingLR up to total_steps (then it rises again, nn's stays), "
        "after LinearLR from 1 / (warmup_steps + 1) with a warm-up",
        "exponential": "torch ExponentialLR",
        "multi_step": "torch MultiStepLR",
        "one_cycle": "torch OneCycleLR",
        "step_decay": "torch StepLR",
        "warm_restarts": "torch CosineAnnealingWarmRestarts",
        "ReduceLROnPlateau": "torch ReduceLROnPlateau with patience one lower, as it acts after "
        "more than so many epochs",
    },
}

_MASKS = "random: another library draws other numbers; tests/layers/test_dropout.py has its shares"
_BASE = "base class"

# group -> {nn's name: why there is nothing to compare it with}
NO_COUNTERPART = {
    "layers": {
        "Dropout": _MASKS,
        "GaussianNoise": _MASKS,
        "GaussianSampling": "random; tests/layers/test_sampling.py has its formulas in loops",
        "Layer": _BASE,
        "SpatialDropout2D": _MASKS,
    },
    "losses": {"Loss": _BASE},
    "metrics": {"FunctionMetric": "the mean of a user's function", "Metric": _BASE},
    "optimizers": {
        "Lookahead": "in neither library; tests/optim/test_lookahead.py has its steps",
        "Muon": "PyTorch iterates in bfloat16; tests/optim/test_muon.py has the singular values",
        "Optimizer": _BASE,
    },
    "schedules": {
        "trapezoidal": "in neither library; tests/optim/test_schedules.py has its values",
        "triangular": "in neither library as one; tests/optim/test_schedules.py has its values",
    },
}


def libraries(counterpart):
    """Return the libraries that a counterpart's text names, those installed or not."""
    return {library for library in ("sklearn", "keras", "torch") if library in counterpart}


def as_text():
    """Return both tables as lines to print."""
    lines = []
    for group, names in COUNTERPARTS.items():
        lines.append(f"{group}:")
        lines += [f"  {name:<24} {text}" for name, text in sorted(names.items())]
        reasons = sorted(NO_COUNTERPART[group].items())
        lines += [f"  {name:<24} not compared - {text}" for name, text in reasons]
    return "\n".join(lines)
