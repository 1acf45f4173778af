"""Muon against singular values iterated one by one, PyTorch's, and Adam for what is no matrix."""

import math

import numpy as np
import pytest

import nn
from nn import kernels, optim


def iterated(s, steps=5):
    """A singular value after the polynomial of the iteration, `steps` times."""
    for _ in range(steps):
        s = 3.4445 * s - 4.7750 * s**3 + 2.0315 * s**5
    return s


@pytest.mark.parametrize("shape", [(4, 6), (6, 4), (5, 5), (1, 3)])
def test_each_singular_value_goes_through_the_polynomial(shape, rng):
    matrix = rng.normal(size=shape)
    u, s, vt = np.linalg.svd(matrix, full_matrices=False)
    norm = math.sqrt((s**2).sum()) + 1e-7
    expected = u @ np.diag([iterated(value / norm) for value in s]) @ vt
    kept = matrix.copy()
    np.testing.assert_allclose(kernels.orthogonalized(matrix), expected, rtol=1e-9, atol=1e-12)
    np.testing.assert_array_equal(matrix, kept)


def test_five_steps_bring_singular_values_near_one(rng):
    s = np.linalg.svd(kernels.orthogonalized(rng.normal(size=(40, 64))), compute_uv=False)
    assert s.min() > 0.6 and s.max() < 1.25


def test_two_steps_by_hand():
    """Gradients along one singular vector: what matters is the iterated 1, and the signs."""
    weights, one = np.zeros((1, 4)), iterated(1 / (1 + 1e-7 / 2))
    optimizer = optim.Muon(lr=0.5, momentum=0.5, weight_decay=0.1)
    optimizer.step([(weights, np.array([[2.0, 0.0, 0.0, 0.0]]))])
    # a Dense kernel of 1 input and 4 outputs: the rate is multiplied by sqrt(4 / 1)
    first = -0.5 * 2 * one
    np.testing.assert_allclose(weights, [[first, 0, 0, 0]], rtol=1e-6)
    optimizer.step([(weights, np.array([[-4.0, 0.0, 0.0, 0.0]]))])
    # m = 0.5 * 2 - 4 = -3, the direction -4 - 1.5; before it the weights shrink by 0.05
    np.testing.assert_allclose(weights, [[0.95 * first + 1.0 * one, 0, 0, 0]], rtol=1e-6)
    assert optimizer.state_dict()["m/0"].tolist() == [[-3.0, 0.0, 0.0, 0.0]]


def test_without_nesterov_the_direction_is_the_momentum():
    weights = np.zeros((2, 1))
    optimizer = optim.Muon(lr=1.0, momentum=0.5, nesterov=False)
    for grad in ([[4.0], [0.0]], [[-2.0], [3.0]]):  # m = (4, 0), then (0, 3)
        before = weights.copy()
        optimizer.step([(weights, np.array(grad))])
    np.testing.assert_allclose(weights - before, [[0.0], [-iterated(1.0)]], atol=1e-6)


@pytest.mark.parametrize(
    ("shape", "outputs", "inputs"), [((2, 8), 8, 2), ((8, 2), 2, 8), ((12, 2, 1, 2), 12, 4)]
)
def test_the_rate_grows_with_the_outputs_of_an_input(shape, outputs, inputs, rng):
    grad, weights = rng.normal(size=shape), np.zeros(shape)
    optim.Muon(lr=0.1, momentum=0.0).step([(weights, grad)])
    expected = kernels.orthogonalized(grad.reshape(shape[0], -1)).reshape(shape)
    scale = 0.1 * math.sqrt(max(1, outputs / inputs))
    np.testing.assert_allclose(weights, -scale * expected, rtol=1e-12)


def test_vectors_are_updated_by_adam(rng):
    """With its own rate, and without a second state array for the matrices."""
    bias, same = np.ones(3), np.ones(3)
    matrix, muon, adam = np.ones((2, 3)), optim.Muon(lr=0.1, adam_lr_ratio=0.5), optim.Adam(0.05)
    for _ in range(4):
        grad = rng.normal(size=3)
        muon.step([(matrix, rng.normal(size=(2, 3))), (bias, grad)])
        adam.step([(same, grad)])
    np.testing.assert_array_equal(bias, same)
    assert sorted(muon.state_dict()) == ["iterations", "m/0", "m/1", "v/1"]
    again = optim.Muon()
    again.load_state_dict(muon.state_dict())
    with pytest.raises(ValueError, match=r"must hold all of \('m', 'v'\) for '0'"):
        again.load_state_dict({"iterations": 1, "m/0": np.ones(3)})


@pytest.mark.parametrize("nesterov", [False, True])
def test_it_agrees_with_pytorch_as_far_as_its_bfloat16_goes(nesterov, rng):
    """PyTorch computes the iteration in 8 bits; the momentum differs by a factor that cancels."""
    torch = pytest.importorskip("torch")
    start, grads = rng.normal(size=(6, 9)), rng.normal(size=(3, 6, 9))
    theirs = torch.nn.Parameter(torch.tensor(start))
    other = torch.optim.Muon([theirs], lr=0.1, weight_decay=0.3, nesterov=nesterov)
    mine = start.T.copy()  # (inputs, outputs), so that the scale is that of (outputs, inputs)
    optimizer = optim.Muon(lr=0.1, weight_decay=0.3, nesterov=nesterov)
    for grad in grads:
        theirs.grad = torch.tensor(grad)
        other.step()
        optimizer.step([(mine, grad.T.copy())])
    np.testing.assert_allclose(mine.T, theirs.detach().numpy(), atol=0.01)


def test_a_network_learns_with_it_and_a_file_keeps_its_state(rng, tmp_path):
    x = rng.normal(size=(64, 3, 6, 6)).astype("float32")
    y = (x.mean(axis=(1, 2, 3)) > 0).astype(int)
    model = nn.Model([nn.Conv2D(4, input_shape=(3, 6, 6)), nn.GlobalAvgPool2D(), nn.Dense(2)])
    model.compile("cce", "muon", lr=0.05)
    history = model.fit(x, y, epochs=8, batch_size=16, verbose=0)
    assert history["loss"][-1] < 0.7 * history["loss"][0]
    model.save(tmp_path / "model.npz")
    loaded = nn.Model.load(tmp_path / "model.npz")
    assert loaded.optimizer.to_config() == model.optimizer.to_config()
    for name, array in model.optimizer.state_dict().items():
        np.testing.assert_array_equal(loaded.optimizer.state_dict()[name], array)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"momentum": 1}, r"\[Muon\] 'momentum' .* got 1"),
        ({"steps": 0}, r"\[Muon\] 'steps' must be a positive integer, got 0"),
        ({"nesterov": 2}, r"\[Muon\] 'nesterov' .* got 2"),
        ({"adam_lr_ratio": 0}, r"\[Muon\] 'adam_lr_ratio' .* got 0"),
        ({"weight_decay": -1}, r"\[Muon\] 'weight_decay' .* got -1"),
    ],
)
def test_wrong_arguments_are_errors(arguments, message):
    with pytest.raises(ValueError, match=message):
        optim.Muon(**arguments)
