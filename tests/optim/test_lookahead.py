"""Lookahead against the algorithm written out, and with the rules and settings inside it."""

import numpy as np
import pytest

import nn
from nn import optim

RULES = [
    lambda: optim.SGD(lr=0.1),
    lambda: optim.SGD(lr=0.1, momentum=0.9, nesterov=True),
    lambda: optim.AdamW(lr=0.1, weight_decay=0.2),
    lambda: optim.Nadam(lr=0.1),
    lambda: optim.Muon(lr=0.1, weight_decay=0.1),
    lambda: optim.Adam(lr=lambda step: 0.1 / (step + 1)),
]


@pytest.mark.parametrize("make", RULES)
def test_it_is_the_algorithm_of_the_paper(make, rng):
    """Algorithm 1: k steps of the other optimizer, then the slow weights move, and replace them."""
    start, grads = rng.normal(size=(3, 4)), rng.normal(size=(11, 3, 4))
    plain, fast, slow = make(), start.copy(), start.copy()
    mine, optimizer = start.copy(), optim.Lookahead(make(), k=3, alpha=0.4)
    for count, grad in enumerate(grads, 1):
        plain.step([(fast, grad)])
        if count % 3 == 0:
            slow += 0.4 * (fast - slow)
            fast[...] = slow
        optimizer.step([(mine, grad)])
        np.testing.assert_array_equal(mine, fast)


def test_alpha_may_be_a_function_of_the_step():
    seen = []
    optimizer = optim.Lookahead(optim.SGD(1.0), k=2, alpha=lambda step: seen.append(step) or 0.25)
    weights = np.zeros(1)
    for _ in range(4):
        optimizer.step([(weights, np.array([-1.0]))])
    assert seen == [1, 3]  # the steps before, as a schedule counts them
    assert weights.tolist() == [1.0]  # 0.25 * 2, then 0.5 + 0.25 * (2.5 - 0.5)


def test_settings_of_the_other_optimizer_are_taken_over():
    inner = optim.SGD(lr=0.5).configure(weight_decay=0.1, clip_value=1.0)
    optimizer = optim.Lookahead(inner, k=10)
    assert (optimizer.lr, optimizer.weight_decay, optimizer.clip_value) == (0.5, 0.1, 1.0)
    weights = np.full((1, 1), 2.0)
    optimizer.step([(weights, np.full((1, 1), 7.0))])
    assert weights.item() == pytest.approx(2 - 0.5 * (1 + 0.2))
    optimizer.configure(weight_decay=0.0)
    optimizer.step([(weights, np.zeros((1, 1)))])
    assert weights.item() == pytest.approx(1.4)


def test_factors_of_the_rate_and_a_rate_set_later_reach_the_rule():
    a, b = np.zeros(1), np.zeros(1)
    optimizer = optim.Lookahead(optim.SGD(lr=0.5), k=5)
    optimizer.set_parameters(["a", "b"], [1.0, 4.0])
    optimizer.step([(a, np.ones(1)), (b, np.ones(1))])
    assert (a.item(), b.item()) == (-0.5, -2.0)
    optimizer.lr = 1.0
    optimizer.step([(a, np.ones(1)), (b, np.ones(1))])
    assert (a.item(), b.item()) == (-1.5, -6.0)


def test_the_slow_weights_of_a_parameter_that_joins_later_begin_with_its_value():
    a, b = np.zeros(1), np.full(1, 8.0)
    optimizer = optim.Lookahead(optim.SGD(lr=1.0), k=2, alpha=0.5)
    optimizer.step([(a, np.ones(1))])
    optimizer.step([(a, np.ones(1)), (b, np.ones(1))])
    assert b.item() == 7.5  # halfway from 8 to 7


@pytest.mark.parametrize("make", RULES)
def test_a_training_resumes_exactly(make, rng, tmp_path):
    x, y = rng.normal(size=(40, 5)).astype("float32"), rng.integers(0, 3, 40)

    def network():
        model = nn.zoo.mlp((6,), input_shape=(5,), num_classes=3, seed=1)
        model.compile("cce", optim.Lookahead(make(), k=3))
        return model

    settings = {"epochs": 4, "batch_size": 8, "verbose": 0}
    whole, half, rest = network(), network(), network()
    whole.fit(x, y, **settings)
    half.fit(x, y, **{**settings, "epochs": 2})
    half.save(tmp_path / "half.npz")
    rest.fit(x, y, resume=tmp_path / "half.npz", **settings)
    for name, array in whole.get_arrays().items():
        np.testing.assert_array_equal(rest.get_arrays()[name], array)


@pytest.mark.parametrize(
    ("arguments", "kind", "message"),
    [
        ({"optimizer": "sgd"}, TypeError, r"\[Lookahead\] 'optimizer' .* got 'sgd'"),
        ({"optimizer": optim.SGD}, TypeError, r"\[Lookahead\] 'optimizer'"),
        ({"optimizer": optim.Lookahead()}, ValueError, r"'optimizer' .* got 'Lookahead'"),
        ({"k": 0}, ValueError, r"\[Lookahead\] 'k' must be a positive integer, got 0"),
        ({"alpha": 0}, ValueError, r"\[Lookahead\] 'alpha' .*\(0, 1\].* got 0"),
        ({"alpha": 1.5}, ValueError, r"\[Lookahead\] 'alpha' .*\(0, 1\].* got 1\.5"),
        ({"alpha": lambda epoch: 0.5}, ValueError, r"\[Lookahead\] 'alpha' is a function of the"),
    ],
)
def test_wrong_arguments_are_errors(arguments, kind, message):
    with pytest.raises(kind, match=message):
        optim.Lookahead(**arguments)


def test_an_optimizer_that_was_used_or_has_a_step_of_its_own_is_an_error():
    used = optim.SGD()
    used.step([(np.zeros(1), np.ones(1))])
    with pytest.raises(ValueError, match="must be a new optimizer"):
        optim.Lookahead(used)

    class Own(optim.Optimizer):
        def step(self, params_and_grads):
            pass

    with pytest.raises(TypeError, match=r"with an update\(\)"):
        optim.Lookahead(Own())
