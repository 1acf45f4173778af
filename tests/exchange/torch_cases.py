"""Networks of every layer that PyTorch knows too: {name: (layers, shape, whether of ids)}."""

import nn

IMAGE, STEPS = (4, 7, 6), (5, 6)


def _images(*cases):
    return {name: (make, IMAGE, False) for name, make in cases}


def _steps(*cases):
    return {name: (make, STEPS, False) for name, make in cases}


def _activations():
    names = ["ReLU", "ReLU6", "LeakyReLU", "ELU", "SELU", "GELU", "SiLU", "Mish", "Softplus",
             "Tanh", "Softsign", "HardSigmoid", "Exponential", "Sigmoid", "Softmax", "LogSoftmax",
             "PReLU"]  # fmt: skip
    return {name: ((lambda name=name: [getattr(nn, name)()]), IMAGE, False) for name in names}


CASES = {
    **_activations(),
    **_images(
        ("Conv2D same", lambda: [nn.Conv2D(3, 3)]),
        ("Conv2D even, same", lambda: [nn.Conv2D(3, (2, 4), activation="relu")]),
        ("Conv2D same with stride", lambda: [nn.Conv2D(3, 3, stride=2, use_bias=False)]),
        ("Conv2D groups, dilation", lambda: [nn.Conv2D(4, 3, groups=2, dilation=2)]),
        ("Conv2D valid, softmax", lambda: [nn.Conv2D(3, 3, padding="valid", activation="softmax")]),
        ("DepthwiseConv2D", lambda: [nn.DepthwiseConv2D(3, depth_multiplier=2, stride=(1, 2))]),
        ("Conv2DTranspose same", lambda: [nn.Conv2DTranspose(3, 3, stride=2)]),
        ("Conv2DTranspose even", lambda: [nn.Conv2DTranspose(3, 2, stride=1)]),
        ("Conv2DTranspose valid", lambda: [nn.Conv2DTranspose(3, 3, stride=2, padding="valid")]),
        ("Conv2DTranspose pads", lambda: [nn.Conv2DTranspose(3, 3, stride=2, padding=1,
                                                             output_padding=1)]),
        ("MaxPool2D", lambda: [nn.MaxPool2D(2)]),
        ("MaxPool2D same", lambda: [nn.MaxPool2D(3, stride=2, padding="same")]),
        ("AvgPool2D", lambda: [nn.AvgPool2D((3, 2), stride=1)]),
        ("AvgPool2D pads", lambda: [nn.AvgPool2D(3, stride=2, padding=1)]),
        ("GlobalAvgPool2D", lambda: [nn.GlobalAvgPool2D()]),
        ("GlobalMaxPool2D", lambda: [nn.GlobalMaxPool2D()]),
        ("BatchNorm2D", lambda: [nn.BatchNorm2D(momentum=0.8, eps=1e-3)]),
        ("BatchNorm", lambda: [nn.BatchNorm()]),
        ("LayerNorm", lambda: [nn.LayerNorm()]),
        ("LayerNorm of the last", lambda: [nn.LayerNorm(axis=3)]),
        ("GroupNorm", lambda: [nn.GroupNorm(2)]),
        ("Dropout", lambda: [nn.Dropout(0.3), nn.SpatialDropout2D(0.2)]),
        ("Reshape", lambda: [nn.Reshape((7, 24)), nn.Flatten(), nn.Dense(3, activation="tanh")]),
        ("Activation", lambda: [nn.Activation("softmax"), nn.Activation("linear")]),
        ("ZeroPad2D", lambda: [nn.ZeroPad2D(((1, 2), (3, 0)))]),
        ("UpSample2D", lambda: [nn.UpSample2D((2, 3))]),
        ("UpSample2D bilinear", lambda: [nn.UpSample2D(2, "bilinear")]),
        ("Rescale", lambda: [nn.Rescale(0.5, -1.0)]),
        ("Standardize", lambda: [nn.Standardize([0.1, 0.2, 0.3, 0.4], 0.5), nn.Conv2D(2, 1)]),
        ("WeightNorm", lambda: [nn.WeightNorm(nn.Conv2D(3, 2, activation="relu")), nn.Flatten(),
                                nn.WeightNorm(nn.Dense(3, use_bias=False))]),
        ("WeightNorm of depthwise", lambda: [nn.WeightNorm(nn.DepthwiseConv2D(3))]),
        ("Residual", lambda: [nn.Residual([nn.Conv2D(4, 3), nn.BatchNorm2D()]), nn.ReLU()]),
        ("SkipConcat", lambda: [nn.SkipConcat([nn.Conv2D(3, 3), nn.BatchNorm2D()]), nn.ReLU()]),
        ("Residual with a shortcut", lambda: [
            nn.Residual([nn.Conv2D(3, 3, stride=2), nn.ReLU(),
                         nn.Sequential([nn.Conv2D(3, 3), nn.BatchNorm2D()])])]),
        ("Recompute", lambda: [nn.Recompute([nn.Conv2D(3, 3), nn.ReLU()])]),
    ),
    **_steps(
        ("Dense of steps", lambda: [nn.Dense(3, activation="log_softmax")]),
        ("BatchNorm1D of steps", lambda: [nn.BatchNorm1D()]),
        ("LayerNorm of steps", lambda: [nn.LayerNorm()]),
        ("LSTM", lambda: [nn.LSTM(4, True), nn.LSTM(3)]),
        ("GRU", lambda: [nn.GRU(4, True), nn.GRU(3)]),
        ("SimpleRNN", lambda: [nn.SimpleRNN(4, True), nn.SimpleRNN(3)]),
        ("Bidirectional LSTM", lambda: [nn.Bidirectional(nn.LSTM(4, True)), nn.Dense(2)]),
        ("Bidirectional GRU, last", lambda: [nn.Bidirectional(nn.GRU(4))]),
        ("Conv1D", lambda: [nn.Conv1D(4, 3, activation="relu"), nn.Conv1D(2, 2, stride=2)]),
        ("Conv1D causal", lambda: [nn.Conv1D(4, 3, padding="causal", dilation=2)]),
        ("MaxPool1D", lambda: [nn.MaxPool1D(2), nn.MaxPool1D(2, padding="same")]),
        ("AvgPool1D", lambda: [nn.AvgPool1D(3, stride=1, padding=1)]),
        ("GlobalAvgPool1D", lambda: [nn.GlobalAvgPool1D(), nn.Dense(2)]),
        ("GlobalMaxPool1D", lambda: [nn.GlobalMaxPool1D()]),
        ("MultiHeadAttention", lambda: [nn.MultiHeadAttention(2, 3, dropout=0.1)]),
        ("MultiHeadAttention without bias", lambda: [nn.MultiHeadAttention(3, 2, use_bias=False)]),
        ("Transformer", lambda: [
            nn.PositionalEmbedding(9),
            nn.Residual([nn.LayerNorm(), nn.MultiHeadAttention(2, 3, causal=True)]),
            nn.Residual([nn.LayerNorm(), nn.Dense(8, activation="gelu"), nn.Dense(6)]),
            nn.GlobalAvgPool1D(), nn.Dense(2)]),
        ("SinusoidalPositions", lambda: [nn.SinusoidalPositions(), nn.Dense(2)]),
    ),
    "BatchNorm1D": (lambda: [nn.Dense(4), nn.BatchNorm1D(), nn.Dense(2)], (5,), False),
    "Embedding": (lambda: [nn.Embedding(7, 3), nn.Flatten()], (5,), True),
    "Embedding and LSTM": (lambda: [nn.Embedding(7, 3), nn.LSTM(2), nn.Dense(2)], (5,), True),
}  # fmt: skip
