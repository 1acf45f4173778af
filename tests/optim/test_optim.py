"""The optimizers against published vectors, slow scalar loops, and the promises of the base."""

import copy
import inspect
import json
import math

import numpy as np
import pytest

from nn import optim
from nn.optim import schedules

pytestmark = pytest.mark.usefixtures("arrays_decide_where_they_are_computed")

ALL = sorted(set(optim.NAME2OPTIMIZER.values()), key=lambda cls: cls.__name__)


def line(first, last, shape=(4, 5)):
    return np.linspace(first, last, math.prod(shape)).reshape(shape)


def run(optimizer, weights, gradients):
    """The weights after one step for each gradient."""
    weights = weights.copy()
    for gradient in gradients:
        optimizer.step([(weights, gradient)])
    return weights


def assert_equal_as_printed(result, expected):
    """The published numbers are rounded to eight decimals."""
    assert np.max(np.abs(result - np.array(expected))) < 6e-9


# ------------------------------------------------------- published vectors: CS231n, assignment 2


def test_momentum_published_vector():
    optimizer = optim.SGDMomentum(lr=1e-3, momentum=0.9)
    optimizer.load_state_dict({"iterations": np.array(1), "velocity/0": line(0.6, 0.9)})
    weights = run(optimizer, line(-0.4, 0.6), [line(-0.6, 0.4)])
    expected = [
        [0.1406, 0.20738947, 0.27417895, 0.34096842, 0.40775789],
        [0.47454737, 0.54133684, 0.60812632, 0.67491579, 0.74170526],
        [0.80849474, 0.87528421, 0.94207368, 1.00886316, 1.07565263],
        [1.14244211, 1.20923158, 1.27602105, 1.34281053, 1.4096],
    ]
    expected_velocity = [
        [0.5406, 0.55475789, 0.56891579, 0.58307368, 0.59723158],
        [0.61138947, 0.62554737, 0.63970526, 0.65386316, 0.66802105],
        [0.68217895, 0.69633684, 0.71049474, 0.72465263, 0.73881053],
        [0.75296842, 0.76712632, 0.78128421, 0.79544211, 0.8096],
    ]
    assert_equal_as_printed(weights, expected)
    velocity = optimizer.state_dict()["velocity/0"]
    assert_equal_as_printed(velocity, expected_velocity)


def test_rmsprop_published_vector():
    optimizer = optim.RMSprop(lr=1e-2, rho=0.99)
    optimizer.load_state_dict({"iterations": np.array(1), "v/0": line(0.6, 0.9)})
    weights = run(optimizer, line(-0.4, 0.6), [line(-0.6, 0.4)])
    expected = [
        [-0.39223849, -0.34037513, -0.28849239, -0.23659121, -0.18467247],
        [-0.132737, -0.08078555, -0.02881884, 0.02316247, 0.07515774],
        [0.12716641, 0.17918792, 0.23122175, 0.28326742, 0.33532447],
        [0.38739248, 0.43947102, 0.49155973, 0.54365823, 0.59576619],
    ]
    assert_equal_as_printed(weights, expected)


def test_adam_published_vector():
    optimizer = optim.Adam(lr=1e-2)
    optimizer.load_state_dict(
        {"iterations": np.array(5), "m/0": line(0.6, 0.9), "v/0": line(0.7, 0.5)}
    )
    weights = run(optimizer, line(-0.4, 0.6), [line(-0.6, 0.4)])
    expected = [
        [-0.40094747, -0.34836187, -0.29577703, -0.24319299, -0.19060977],
        [-0.1380274, -0.08544591, -0.03286534, 0.01971428, 0.0722929],
        [0.1248705, 0.17744702, 0.23002243, 0.28259667, 0.33516969],
        [0.38774145, 0.44031188, 0.49288093, 0.54544852, 0.59801459],
    ]
    assert_equal_as_printed(weights, expected)
    assert optimizer.iterations == 6


# ----------------------------------------------- slow references: one number, Python's own floats


def sgd_reference(w, grads, lr=0.01, momentum=0.0, nesterov=False):
    v = 0.0
    for g in grads:
        v = momentum * v - lr * g
        w = w + momentum * v - lr * g if nesterov else w + v
    return w


def adagrad_reference(w, grads, lr=0.01, eps=1e-8):
    total = 0.0
    for g in grads:
        total += g**2
        w -= lr * g / (math.sqrt(total) + eps)
    return w


def rmsprop_reference(w, grads, lr=1e-3, rho=0.9, eps=1e-8):
    v = 0.0
    for g in grads:
        v = rho * v + (1 - rho) * g**2
        w -= lr * g / (math.sqrt(v) + eps)
    return w


def adam_reference(w, grads, lr=1e-3, beta1=0.9, beta2=0.999, eps=1e-8, weight_decay=0.0):
    """The sums of the paper's section 3 written out, without the recurrence."""
    for t in range(1, len(grads) + 1):
        past = list(enumerate(grads[:t], start=1))
        m = (1 - beta1) * sum(beta1 ** (t - i) * g for i, g in past)
        v = (1 - beta2) * sum(beta2 ** (t - i) * g**2 for i, g in past)
        w -= lr * weight_decay * w
        w -= lr * (m / (1 - beta1**t)) / (math.sqrt(v / (1 - beta2**t)) + eps)
    return w


def nadam_reference(w, grads, lr=1e-3, beta1=0.9, beta2=0.999, eps=1e-8):
    def mu(t):
        return beta1 * (1 - 0.5 * 0.96 ** (t * 0.004))

    m = v = 0.0
    for t, g in enumerate(grads, start=1):
        m = beta1 * m + (1 - beta1) * g
        v = beta2 * v + (1 - beta2) * g * g
        now = math.prod(mu(i) for i in range(1, t + 1))
        m_hat = mu(t + 1) * m / (1 - now * mu(t + 1)) + (1 - mu(t)) * g / (1 - now)
        w -= lr * m_hat / (math.sqrt(v / (1 - beta2**t)) + eps)
    return w


def lion_reference(w, grads, lr=1e-4, beta1=0.9, beta2=0.99, weight_decay=0.0):
    m = 0.0
    for g in grads:
        c = beta1 * m + (1 - beta1) * g
        w -= lr * (math.copysign(1.0, c) + weight_decay * w)
        m = beta2 * m + (1 - beta2) * g
    return w


REFERENCES = [
    (optim.SGD, sgd_reference, {"lr": 0.1}),
    (optim.SGD, sgd_reference, {"lr": 0.1, "momentum": 0.8}),
    (optim.SGD, sgd_reference, {"lr": 0.1, "momentum": 0.8, "nesterov": True}),
    (optim.SGDMomentum, sgd_reference, {"lr": 0.1, "momentum": 0.7}),
    (optim.Nesterov, lambda *a, **k: sgd_reference(*a, nesterov=True, **k), {"momentum": 0.7}),
    (optim.Adagrad, adagrad_reference, {"lr": 0.1, "eps": 1e-3}),
    (optim.RMSprop, rmsprop_reference, {"lr": 0.1, "rho": 0.8, "eps": 1e-3}),
    (optim.Adam, adam_reference, {"lr": 0.1, "beta1": 0.8, "beta2": 0.95, "eps": 1e-3}),
    (optim.Adam, adam_reference, {"beta1": 0.0, "beta2": 0.0}),
    (optim.AdamW, adam_reference, {"lr": 0.1, "beta1": 0.8, "weight_decay": 0.3}),
    (optim.Lion, lion_reference, {}),
    (optim.Lion, lion_reference, {"lr": 0.1, "beta1": 0.8, "beta2": 0.7, "weight_decay": 0.3}),
    (optim.Nadam, nadam_reference, {"lr": 0.1, "beta1": 0.8, "beta2": 0.95, "eps": 1e-3}),
]


@pytest.mark.parametrize(("cls", "reference", "arguments"), REFERENCES)
def test_update_equals_the_scalar_reference(cls, reference, arguments):
    rng = np.random.default_rng(1)
    weights = rng.normal(size=(3, 2))
    gradients = rng.normal(size=(25, 3, 2))
    result = run(cls(**arguments), weights, gradients)
    for index in np.ndindex(3, 2):
        series = [float(gradient[index]) for gradient in gradients]
        expected = reference(float(weights[index]), series, **arguments)
        assert result[index] == pytest.approx(expected, rel=1e-12, abs=1e-13)


def test_the_defaults_are_the_documented_ones():
    assert vars(optim.SGD()) == {"_lr": 0.01, "momentum": 0.0, "nesterov": False}
    assert vars(optim.SGDMomentum()) == {"_lr": 0.01, "momentum": 0.9, "nesterov": False}
    assert vars(optim.Nesterov()) == {"_lr": 0.01, "momentum": 0.9, "nesterov": True}
    assert vars(optim.Adagrad()) == {"_lr": 0.01, "eps": 1e-8}
    assert vars(optim.RMSprop()) == {"_lr": 1e-3, "rho": 0.9, "eps": 1e-8}
    adam = {"_lr": 1e-3, "beta1": 0.9, "beta2": 0.999, "eps": 1e-8}
    assert vars(optim.Adam()) == vars(optim.Nadam()) == adam
    assert vars(optim.AdamW()) == adam | {"weight_decay": 0.01}
    lion = {"_lr": 1e-4, "beta1": 0.9, "beta2": 0.99, "weight_decay": 0.0}
    assert vars(optim.Lion()) == lion


def test_two_steps_of_lion_by_hand():
    optimizer = optim.Lion(lr=0.5, beta1=0.5, beta2=0.75, weight_decay=0.5)
    weights, bias = np.array([[4.0, -2.0, 8.0]]), np.array([4.0])
    optimizer.step([(weights, np.array([[2.0, -4.0, 0.0]])), (bias, np.array([2.0]))])
    # c = 1, -2, 0; w = 4 - 0.5 * (1 + 0.5 * 4), ...; no decay of the bias; m = 0.25 * g
    assert weights.tolist() == [[2.5, -1.0, 6.0]]
    assert bias.tolist() == [3.5]
    assert optimizer.state_dict()["m/0"].tolist() == [[0.5, -1.0, 0.0]]
    optimizer.step([(weights, np.array([[-2.0, -1.0, 1.0]])), (bias, np.array([-0.5]))])
    # c = 0.25 - 1, -0.5 - 0.5, 0.5; of the bias 0.25 - 0.25 = 0, so that it stays
    assert weights.tolist() == [[2.375, -0.25, 4.0]]
    assert bias.tolist() == [3.5]
    assert optimizer.state_dict()["m/0"].tolist() == [[-0.125, -1.0, 0.25]]


# --------------------------------------------------------------------- what every optimizer keeps


@pytest.mark.parametrize("cls", ALL)
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_params_change_in_place_and_grads_stay(cls, dtype):
    weights = line(-0.4, 0.6).astype(dtype)
    bias = np.ones(3, dtype)
    grads = [line(-0.6, 0.4).astype(dtype), np.full(3, 7.0, dtype)]
    kept = copy.deepcopy(grads)
    optimizer = cls().configure(weight_decay=0.1, clip_norm=0.5)
    before, same = weights.copy(), weights
    for _ in range(3):
        optimizer.step(iter([(weights, grads[0]), (bias, grads[1])]))
    assert same is weights
    assert not np.any(weights == before)
    for grad, original in zip(grads, kept, strict=True):
        assert np.array_equal(grad, original)
    assert weights.dtype == dtype
    assert all(a.dtype == dtype for k, a in optimizer.state_dict().items() if k != "iterations")


@pytest.mark.parametrize("cls", ALL)
def test_float32_arithmetic_stays_near_float64(cls):
    rng = np.random.default_rng(2)
    weights, gradients = rng.normal(size=(6, 5)), rng.normal(size=(30, 6, 5))
    double = run(cls(), weights, gradients)
    single = run(cls(), weights.astype("float32"), gradients.astype("float32"))
    assert np.max(np.abs(double - single)) < 1e-5


@pytest.mark.parametrize("cls", ALL)
def test_every_rule_goes_downhill(cls):
    weights = np.array([[3.0, -2.0]])
    optimizer = cls(lr=0.1)
    for _ in range(400):
        optimizer.step([(weights, 2 * weights)])
    assert np.abs(weights).max() < (1.5 if cls is optim.Adagrad else 0.2)
    assert optimizer.iterations == 400


@pytest.mark.parametrize("cls", ALL)
def test_state_follows_the_memory_layout(cls):
    weights = np.asfortranarray(line(-0.4, 0.6))
    optimizer = cls()
    optimizer.step([(weights, line(-0.6, 0.4))])
    state = optimizer.state_dict()
    assert all(a.strides == weights.strides for k, a in state.items() if k != "iterations")
    loaded = {key: np.ascontiguousarray(array) for key, array in state.items()}
    loaded["iterations"] = state["iterations"]
    optimizer.load_state_dict(loaded)
    optimizer.step([(weights, line(-0.6, 0.4))])
    state = optimizer.state_dict()
    assert all(a.strides == weights.strides for k, a in state.items() if k != "iterations")


def test_views_are_updated_in_the_array_they_show():
    memory = np.ones((4, 6))
    optim.Adam(lr=0.1).step([(memory[::2, 1:3], np.ones((2, 2)))])
    changed = memory != 1
    assert changed[::2, 1:3].all()
    assert changed.sum() == 4


@pytest.mark.parametrize("cls", ALL)
def test_state_restores_the_course_exactly(cls):
    rng = np.random.default_rng(3)
    weights, gradients = rng.normal(size=(3, 4)), rng.normal(size=(12, 3, 4))
    whole = run(cls(), weights, gradients)
    first = cls()
    half = run(first, weights, gradients[:5])
    state = first.state_dict()
    run(first, half, gradients[5:])  # must not reach into the state that was given out
    for second in (cls(), first):
        second.load_state_dict(state)
        assert second.iterations == 5
        assert np.array_equal(run(second, half, gradients[5:]), whole)
        second.load_state_dict(state)


def test_state_is_kept_by_name():
    a, b = np.zeros((2, 2)), np.zeros(3)
    grads = {"0_Dense_W": np.ones((2, 2)), "0_Dense_b": np.ones(3)}
    optimizer = optim.Adam()
    optimizer.param_names = ["0_Dense_W", "0_Dense_b"]
    optimizer.step([(a, grads["0_Dense_W"]), (b, grads["0_Dense_b"])])
    assert sorted(optimizer.state_dict()) == [
        "iterations",
        "m/0_Dense_W",
        "m/0_Dense_b",
        "v/0_Dense_W",
        "v/0_Dense_b",
    ]
    # a parameter that is no longer trained leaves the other its state
    optimizer.param_names = ["0_Dense_b"]
    optimizer.step([(b, grads["0_Dense_b"])])
    assert optimizer.state_dict()["m/0_Dense_b"] == pytest.approx(1 - 0.9**2)
    assert optimizer.state_dict()["m/0_Dense_W"] == pytest.approx(1 - 0.9)


def test_state_without_names_is_kept_by_position():
    optimizer = optim.SGDMomentum()
    optimizer.step([(np.zeros(2), np.ones(2)), (np.zeros(3), np.ones(3))])
    state = optimizer.state_dict()
    assert sorted(state) == ["iterations", "velocity/0", "velocity/1"]
    assert state["iterations"].shape == () and state["iterations"].dtype == np.int64


def test_state_takes_the_dtype_of_its_parameter():
    optimizer = optim.SGDMomentum()
    optimizer.load_state_dict({"iterations": np.array(1), "velocity/0": np.ones((2, 2))})
    optimizer.step([(np.zeros((2, 2), "float32"), np.zeros((2, 2), "float32"))])
    assert optimizer.state_dict()["velocity/0"].dtype == "float32"
    assert optimizer.state_dict()["velocity/0"] == pytest.approx(0.9)


def test_loaded_state_gets_the_memory_layout_of_each_parameter():
    params = [np.zeros((2, 3, 4)).transpose(2, 0, 1) for _ in range(3)]
    optimizer = optim.Adam().configure(ema_decay=0.5)
    state = {f"{slot}/{k}": np.zeros((4, 2, 3)) for slot in ("m", "v", "ema") for k in range(3)}
    optimizer.load_state_dict({"iterations": 1, "ema_steps": 1, **state})
    optimizer.step([(param, param + 1) for param in params])
    state = optimizer.state_dict()
    assert [state[f"{slot}/2"].strides for slot in ("m", "v", "ema")] == [params[0].strides] * 3


def test_state_stays_where_it_is_from_step_to_step():
    weights = np.zeros((2, 3)).T
    optimizer = optim.SGDMomentum().configure(ema_decay=0.5)
    optimizer.step([(weights, np.ones((3, 2)))])
    average = optimizer.averages["0"]
    assert average.strides == weights.strides
    optimizer.step([(weights, np.ones((3, 2)))])
    assert optimizer.averages["0"] is average


def test_state_follows_a_parameter_that_changes_its_dtype():
    optimizer = optim.SGDMomentum().configure(ema_decay=0.5)
    optimizer.step([(np.zeros(2), np.ones(2))])
    optimizer.step([(np.zeros(2, "f4"), np.ones(2, "f4"))])
    state = optimizer.state_dict()
    assert state["velocity/0"].dtype == state["ema/0"].dtype == "float32"
    assert (state["iterations"].dtype, state["ema_steps"].dtype) == ("int64", "int64")


def test_load_state_dict_copies():
    given = np.ones((2, 2))
    optimizer = optim.SGDMomentum()
    optimizer.load_state_dict({"iterations": np.array(1), "velocity/0": given})
    optimizer.step([(np.zeros((2, 2)), np.ones((2, 2)))])
    assert np.array_equal(given, np.ones((2, 2)))


@pytest.mark.parametrize(
    ("state", "message"),
    [
        ({}, r"^\[Adam\] 'state' must hold 'iterations', got \[\]\.$"),
        ({"m/W": 1, "v/W": 1}, r"'state' must hold 'iterations', got \['m/W', 'v/W'\]\.$"),
        (5, r"^\[Adam\] 'state' must hold 'iterations', got 5\.$"),
        ({"iterations": 1, "velocity/0": np.ones(2)}, r"\[Adam\] 'state' .* got 'velocity'"),
        (
            {"iterations": 1, "m/W": np.ones(2)},
            r"\[Adam\] 'state' must hold all of .* 'W', got \['m'\]",
        ),
        ({"iterations": 1, "ema/W": np.ones(2)}, r"'state' must be one of 'm', 'v', got 'ema'"),
        ({"iterations": 1, "m/W2": np.ones(2)}, r"\[Adam\] 'state' .*: did you mean 'W'\?"),
    ],
)
def test_load_state_dict_is_strict(state, message):
    optimizer = optim.Adam()
    optimizer.param_names = ["W"]
    with pytest.raises(ValueError, match=message):
        optimizer.load_state_dict(state)


def test_shapes_that_do_not_fit_are_errors():
    optimizer = optim.Adam()
    with pytest.raises(ValueError, match=r"\[Adam\] expects a gradient .* \(2, 3\) .* \(3,\)"):
        optimizer.step([(np.zeros((2, 3)), np.zeros(3))])
    optimizer.step([(np.zeros((2, 3)), np.zeros((2, 3)))])
    with pytest.raises(ValueError, match=r"^\[Adam\] .* the shape \(2, 3\) .* got \(4, 3\)"):
        optimizer.step([(np.zeros((4, 3)), np.zeros((4, 3)))])
    optimizer.param_names = ["a", "b"]
    with pytest.raises(ValueError, match=r"must hold 2 pairs, as 'param_names' does, got 1"):
        optimizer.step([(np.zeros((2, 3)), np.zeros((2, 3)))])


@pytest.mark.parametrize(
    ("pairs", "message"),
    [
        (5, r"'params_and_grads' must hold pairs of arrays \(param, grad\), got int: .* iterable"),
        ([np.zeros(3)], r"'params_and_grads' must hold pairs of arrays .*, got list: too many"),
        ([(np.zeros(3), [1.0])], r"must hold arrays of floats, got float64 and list for '0'\.$"),
        ([(np.zeros(3), np.zeros(3, int))], r"of floats, got float64 and int64 for '0'\.$"),
        ([(3.0, np.zeros(3))], r"must hold arrays of floats, got float and float64 for '0'\.$"),
    ],
)
def test_what_are_no_pairs_of_arrays_is_an_error(pairs, message):
    with pytest.raises(TypeError, match=rf"^\[SGD\] .*{message}"):
        optim.SGD().step(pairs)


def test_the_error_of_missing_pairs_is_whole():
    optimizer = optim.SGD()
    optimizer.param_names = ["a", "b"]
    with pytest.raises(
        ValueError, match=r"^\[SGD\] 'params_and_grads' must hold 2 pairs, .* got 0\.$"
    ):
        optimizer.step([])


def test_arrays_that_change_between_steps_are_checked_again():
    """Names, shapes and dtypes are looked at once, and again when any of them changes."""
    weights, wrong = np.ones((2, 3)), (np.ones((1, 3)), np.ones(3), np.ones(()), np.ones((3, 2)))
    optimizer = optim.Adam(lr=0.1)
    for _ in range(2):
        optimizer.step([(weights, np.ones((2, 3)))])
    before = weights.copy()
    for grad in wrong:  # each of the first three would be broadcast
        with pytest.raises(ValueError, match=r"\[Adam\] .* \(2, 3\) "):
            optimizer.step([(weights, grad)])
    for grad in (np.ones((2, 3), int), [[1.0] * 3] * 2, None):
        with pytest.raises(TypeError, match=r"\[Adam\] .*floats"):
            optimizer.step([(weights, grad)])
    optimizer.param_names = ["a", "b"]
    with pytest.raises(ValueError, match=r"\[Adam\] .* 2 pairs"):
        optimizer.step([(weights, np.ones((2, 3)))])
    assert np.array_equal(weights, before) and optimizer.iterations == 2
    optimizer.param_names = None
    optimizer.step([(weights, np.ones((2, 3)))])
    assert optimizer.iterations == 3 and sorted(optimizer.state_dict()) == [
        "iterations",
        "m/0",
        "v/0",
    ]


def test_a_momentum_that_is_set_later_gets_its_state():
    optimizer, weights = optim.SGD(lr=1.0), np.zeros(2)
    optimizer.step([(weights, np.ones(2))])
    optimizer.momentum = 0.5
    for _ in range(2):
        optimizer.step([(weights, np.ones(2))])
    assert np.array_equal(weights, [-1 - 1 - 1.5] * 2)


def test_a_shape_error_leaves_the_other_parameters_alone():
    good = np.ones(2)
    with pytest.raises(ValueError, match="expects a gradient"):
        optim.SGD().step([(good, np.ones(2)), (np.ones(2), np.ones(3))])
    assert np.array_equal(good, np.ones(2))


# ------------------------------------------------------------------------------- learning rates


def test_a_schedule_counts_steps_from_0():
    seen = []

    def rate(step):
        seen.append(step)
        return 1.0 / (step + 1)

    optimizer = optim.SGD(lr=rate)
    weights = np.zeros(1)
    for _ in range(3):
        optimizer.step([(weights, np.ones(1))])
    assert sorted(set(seen)) == [0, 1, 2]
    assert weights[0] == pytest.approx(-(1 + 1 / 2 + 1 / 3))
    assert optimizer.lr == optimizer.current_lr == 0.25
    assert optimizer.schedule is rate


def test_a_schedule_of_numpy_floats_keeps_float32():
    optimizer = optim.Adam(lr=lambda step: np.float64(0.1))
    weights = np.ones((2, 2), "float32")
    optimizer.step([(weights, weights.copy())])
    assert weights.dtype == "float32" and type(optimizer.lr) is float
    assert optimizer.state_dict()["m/0"].dtype == "float32"


def test_the_rate_can_be_set():
    optimizer = optim.Adam(lr=schedules.exponential(0.1, 0.5))
    assert optimizer.lr == 0.1
    optimizer.lr = 0.001
    assert optimizer.lr == optimizer.current_lr == 0.001
    assert optimizer.schedule is None
    with pytest.raises(ValueError, match=r"\[Adam\] 'lr' .* got -1"):
        optimizer.lr = -1
    with pytest.raises(ValueError, match=r"\[Adam\] 'lr' .* got nan"):
        _ = optim.Adam(lr=lambda step: math.nan).lr


@pytest.mark.parametrize("cls", ALL)
def test_rate_zero_changes_nothing(cls):
    weights = line(-0.4, 0.6)
    assert np.array_equal(run(cls(lr=0), weights, [line(-0.6, 0.4)] * 3), weights)


# ----------------------------------------------------------------------- weight decay and clipping


def test_weight_decay_is_added_to_the_gradient_of_weights_only():
    weights, bias = np.full((1, 2), 10.0), np.full(2, 10.0)
    optimizer = optim.SGD(lr=0.1).configure(weight_decay=0.5)
    optimizer.step([(weights, np.full((1, 2), 2.0)), (bias, np.full(2, 2.0))])
    assert weights == pytest.approx(10 - 0.1 * (2 + 0.5 * 10))
    assert bias == pytest.approx(10 - 0.1 * 2)


def test_weight_decay_goes_through_the_rule_in_adam_and_past_it_in_adamw():
    gradients = line(-0.6, 0.4)[None]
    coupled = optim.Adam(lr=0.1).configure(weight_decay=0.5)
    weights = line(-0.4, 0.6)
    expected = run(optim.Adam(lr=0.1), weights, gradients + 0.5 * weights)
    assert np.array_equal(run(coupled, weights, gradients), expected)
    decoupled = optim.AdamW(lr=0.1).configure(weight_decay=0.5)
    expected = run(optim.Adam(lr=0.1), weights * (1 - 0.1 * 0.5), gradients)
    assert np.array_equal(run(decoupled, weights, gradients), expected)
    bias = weights.reshape(-1)
    plain = run(optim.Adam(lr=0.1), bias, [gradients.reshape(-1)])
    assert np.array_equal(run(decoupled.__class__(lr=0.1), bias, [gradients.reshape(-1)]), plain)


def test_clipping_scales_all_gradients_by_one_norm():
    weights, bias = np.zeros((1, 2)), np.zeros(1)
    optimizer = optim.SGD(lr=1.0).configure(clip_norm=6.5)
    optimizer.step([(weights, np.array([[3.0, 4.0]])), (bias, np.array([12.0]))])  # norm 13
    assert weights == pytest.approx(np.array([[-1.5, -2.0]]), rel=1e-15)
    assert bias == pytest.approx(-6.0, rel=1e-15)


def test_clipping_leaves_short_gradients_alone():
    weights = np.zeros((1, 2))
    optimizer = optim.SGD(lr=1.0).configure(clip_norm=5.0)
    optimizer.step([(weights, np.array([[3.0, 4.0]]))])
    assert np.array_equal(weights, [[-3.0, -4.0]])


def test_clipping_comes_before_the_decay():
    weights = np.full((1, 2), 10.0)
    optimizer = optim.SGD(lr=1.0).configure(weight_decay=0.1, clip_norm=0.5)
    optimizer.step([(weights, np.array([[3.0, 4.0]]))])
    assert weights == pytest.approx(np.array([[10 - 0.3 - 1, 10 - 0.4 - 1]]), rel=1e-14)


def test_the_norm_is_summed_in_float64():
    # in float32 the square of 1e30 is infinite, and 1 vanishes beside 1e8
    huge = np.full((2, 2), 1e30, "float32")
    weights = np.zeros((2, 2), "float32")
    optim.SGD(lr=1.0).configure(clip_norm=2.0).step([(weights, huge)])
    assert weights == pytest.approx(-1.0, rel=1e-6)
    grads = [np.array([1e4], "float32"), np.ones(1, "float32")]
    assert optim.global_norm(grads) == pytest.approx(math.sqrt(1e8 + 1), rel=1e-15)


def test_gradients_that_are_not_finite_are_not_scaled():
    weights = np.zeros((1, 2))
    optimizer = optim.SGD(lr=1.0).configure(clip_norm=1.0)
    optimizer.step([(weights, np.array([[np.inf, 1.0]]))])
    assert np.array_equal(weights, [[-np.inf, -1.0]])


def test_configure_keeps_what_is_none():
    optimizer = optim.AdamW().configure(clip_norm=2.0)
    assert (optimizer.weight_decay, optimizer.clip_norm) == (0.01, 2.0)
    assert optimizer.configure(weight_decay=0.0) is optimizer
    assert (optimizer.weight_decay, optimizer.clip_norm) == (0.0, 2.0)


def test_clipping_by_value_brings_every_number_into_the_range():
    weights, bias = np.full((1, 3), 10.0), np.zeros(2)
    optimizer = optim.SGD(lr=1.0).configure(clip_value=2.0, weight_decay=0.5)
    grads = [np.array([[3.0, -1.0, -np.inf]]), np.array([-2.5, 2.0])]
    kept = copy.deepcopy(grads)
    optimizer.step([(weights, grads[0]), (bias, grads[1])])
    # the decay, 0.5 * 10, comes after
    assert np.array_equal(weights, [[10 - 2 - 5, 10 + 1 - 5, 10 + 2 - 5]])
    assert np.array_equal(bias, [2.0, -2.0])
    assert all(np.array_equal(a, b) for a, b in zip(grads, kept, strict=True))


@pytest.mark.parametrize("cls", ALL)
def test_clipping_by_value_is_the_rule_on_clipped_gradients(cls):
    weights, gradients = line(-0.4, 0.6), [line(-0.6, 0.4), line(3, -2)]
    clipped = [np.array([[max(-0.3, min(0.3, g)) for g in row] for row in k]) for k in gradients]
    result = run(cls().configure(clip_value=0.3), weights, gradients)
    assert np.array_equal(result, run(cls(), weights, clipped))


def test_one_kind_of_clipping_at_a_time():
    message = r"\[Adam\] 'clip_value' .*clip_norm=1\.0.* got 0\.5"
    with pytest.raises(ValueError, match=message):
        optim.get("adam", clip_norm=1.0, clip_value=0.5)
    optimizer = optim.Adam().configure(clip_norm=1.0)
    with pytest.raises(ValueError, match=message):
        optimizer.configure(clip_value=0.5, weight_decay=0.1)
    assert (optimizer.clip_value, optimizer.weight_decay) == (None, 0.0)  # nothing was set
    optimizer.clip_norm = None
    assert optimizer.configure(clip_value=0.5).clip_value == 0.5
    with pytest.raises(ValueError, match=r"\[Adam\] .*clip_norm=2"):
        optimizer.configure(clip_norm=2)


# ------------------------------------------------------------------- a rate for each parameter


@pytest.mark.parametrize("cls", ALL)
@pytest.mark.parametrize("scheduled", [False, True])
def test_factors_of_the_rate_are_optimizers_of_their_own(cls, scheduled):
    """Two parameters with a factor each move as under an optimizer each, bit for bit."""
    rng = np.random.default_rng(5)
    gradients = rng.normal(size=(10, 2, 3, 4))
    factors = (0.3, 7.0)

    def rate(factor):
        return (lambda step: 0.01 / (1 + step) * factor) if scheduled else 0.01 * factor

    start = rng.normal(size=(2, 3, 4))
    weights = start.copy()
    optimizer = cls(lr=rate(1.0)).configure(weight_decay=0.1, ema_decay=0.5)
    optimizer.param_names = ["a", "b"]
    optimizer.lr_factors = {"a": factors[0], "b": factors[1]}
    for a, b in gradients:
        optimizer.step([(weights[0], a), (weights[1], b)])
    for k, factor in enumerate(factors):
        alone = cls(lr=rate(factor)).configure(weight_decay=0.1)
        assert np.array_equal(weights[k], run(alone, start[k], gradients[:, k]))
        moved = np.abs(weights[k] - start[k]).max()
        assert moved > 0.001
    assert optimizer.lr == pytest.approx(0.01 / 11 if scheduled else 0.01)


def test_a_factor_is_not_a_scaled_gradient():
    weights = np.zeros((1, 2))
    optimizer = optim.Adam(lr=0.1)
    optimizer.lr_factors = {"0": 0.01}  # by position, where there are no names
    optimizer.step([(weights, np.array([[5.0, -3.0]]))])
    assert weights == pytest.approx(np.array([[-0.001, 0.001]]), rel=1e-6)  # Adam's first step


def test_the_decoupled_decay_has_the_multiplied_rate():
    weights = np.full((1, 1), 2.0)
    optimizer = optim.AdamW(lr=0.1, weight_decay=0.5)
    optimizer.lr_factors = {"0": 0.2}
    optimizer.step([(weights, np.zeros((1, 1)))])
    assert weights[0, 0] == pytest.approx(2 * (1 - 0.1 * 0.2 * 0.5), rel=1e-15)


def test_an_error_within_a_step_leaves_the_rate_as_it_was():
    class Broken(optim.Optimizer):
        def update(self, param, grad, slots):
            raise ArithmeticError(self.lr)

    optimizer = Broken(lr=0.5)
    optimizer.lr_factors = {"0": 0.5}
    with pytest.raises(ArithmeticError, match=r"0\.25"):
        optimizer.step([(np.zeros(1), np.zeros(1))])
    assert optimizer.lr == 0.5


def test_an_optimizer_belongs_to_one_model():
    optimizer, one, other = optim.Adam(), object(), object()
    for owner in (None, one, one, None):
        optim.name_parameters(optimizer, ["W"], [1.0], owner)
    message = (
        r"^\[Model\] 'optimizer' is in use by another model, and its state is that model's, "
        r"got Adam again: use a new optimizer\.$"
    )
    with pytest.raises(ValueError, match=message):
        optim.name_parameters(optimizer, ["W"], [1.0], other)
    assert optimizer.owner is one
    optim.name_parameters(None, ["W"], [1.0], other)


def test_factors_need_an_optimizer_that_honours_them():
    for optimizer in (ByIdentity(0.1), Stranger()):
        name = type(optimizer).__name__
        optim.name_parameters(optimizer, ["W"], [1.0])
        with pytest.raises(
            ValueError,
            match=rf"\[{name}\] 'lr_factor' for 'W' .*: override update\(\) .* got 0\.1\.$",
        ):
            optim.name_parameters(optimizer, ["b", "W"], [1.0, 0.1])
    with pytest.raises(ValueError, match=r"\[Model\] 'lr_factor' for 'W' .* compile\(\)"):
        optim.name_parameters(None, ["W"], [0.1])
    optim.name_parameters(None, ["W"], [1.0])
    optimizer = Forgetful(0.1)
    optim.name_parameters(optimizer, ["W", "b"], [0.1, 1.0])
    assert (optimizer.param_names, optimizer.lr_factors) == (["W", "b"], {"W": 0.1})


# --------------------------------------------------------------------------- averages of weights


def average_reference(values, decay):
    """The weighted mean of a number after each step, written out; the last counts 1."""
    weights = [decay ** (len(values) - i) for i in range(1, len(values) + 1)]
    return sum(w * v for w, v in zip(weights, values, strict=True)) / sum(weights)


@pytest.mark.parametrize("decay", [0.0, 0.5, 0.9, 0.999])
def test_averages_are_weighted_means_of_the_weights_after_each_step(decay):
    rng = np.random.default_rng(6)
    weights, bias = rng.normal(size=(2, 3)), rng.normal(size=2)
    optimizer = optim.SGDMomentum(lr=0.1).configure(ema_decay=decay)
    seen = []
    assert optimizer.averages == {}
    for _ in range(12):
        optimizer.step([(weights, rng.normal(size=(2, 3))), (bias, rng.normal(size=2))])
        seen.append((weights.copy(), bias.copy()))
        for position, name in enumerate(("0", "1")):
            average = optimizer.averages[name]
            for index in np.ndindex(average.shape):
                expected = average_reference([s[position][index] for s in seen], decay)
                assert average[index] == pytest.approx(expected, rel=1e-12)


def test_two_averages_by_hand():
    weights = np.array([1.0])
    optimizer = optim.SGD(lr=1.0).configure(ema_decay=0.9)
    optimizer.step([(weights, np.array([-1.0]))])  # 2
    assert optimizer.averages["0"] == pytest.approx(2.0)
    optimizer.step([(weights, np.array([-1.0]))])  # 3
    assert optimizer.averages["0"][0] == pytest.approx((0.9 * 2 + 3) / 1.9, rel=1e-15)


def test_averages_leave_training_as_it_is():
    rng = np.random.default_rng(7)
    weights, gradients = rng.normal(size=(3, 2)), rng.normal(size=(5, 3, 2))
    averaging = optim.Adam().configure(ema_decay=0.9)
    assert np.array_equal(run(averaging, weights, gradients), run(optim.Adam(), weights, gradients))


def test_a_parameter_that_joins_late_counts_with_its_old_value_before():
    a, b = np.array([0.0]), np.array([5.0])
    optimizer = optim.SGD(lr=1.0).configure(ema_decay=0.5)
    optimizer.param_names = ["a"]
    optimizer.step([(a, np.array([-1.0]))])
    optimizer.step([(a, np.array([-1.0]))])
    optimizer.param_names = ["a", "b"]
    optimizer.step([(a, np.array([-1.0])), (b, np.array([-3.0]))])
    assert optimizer.averages["a"][0] == pytest.approx(average_reference([1, 2, 3], 0.5))
    assert optimizer.averages["b"][0] == pytest.approx(average_reference([5, 5, 8], 0.5))


@pytest.mark.parametrize("cls", ALL)
def test_averages_are_part_of_the_state(cls):
    rng = np.random.default_rng(8)
    weights, gradients = rng.normal(size=(3, 4)).astype("f4"), rng.normal(size=(9, 3, 4))
    gradients = gradients.astype("f4")
    first = cls().configure(ema_decay=0.7)
    half = run(first, weights, gradients[:4])
    state = first.state_dict()
    assert state["ema_steps"] == 4 and state["ema/0"].dtype == "float32"
    whole = run(first, half, gradients[4:])
    second = optim.from_config(json.loads(json.dumps(first.to_config())))
    assert second.ema_decay == 0.7
    second.load_state_dict(state)
    assert np.array_equal(run(second, half, gradients[4:]), whole)
    assert np.array_equal(second.averages["0"], first.averages["0"])


def test_averages_follow_the_dtype_of_their_parameter():
    optimizer = optim.SGD().configure(ema_decay=0.5)
    optimizer.load_state_dict({"iterations": 1, "ema_steps": 1, "ema/0": np.ones((2, 2))})
    optimizer.step([(np.zeros((2, 2), "f4"), np.zeros((2, 2), "f4"))])
    assert optimizer.averages["0"].dtype == "float32"
    assert optimizer.averages["0"] == pytest.approx(1 / 3)


def test_averages_and_state_that_do_not_fit():
    optimizer = optim.SGD().configure(ema_decay=0.5)
    optimizer.step([(np.zeros(2), np.ones(2))])
    state = optimizer.state_dict()
    with pytest.raises(ValueError, match=r"\[SGD\] 'state' holds averages .*ema_decay.* got \['e"):
        optim.SGD().load_state_dict(state)
    with pytest.raises(ValueError, match=r"'0' to keep the shape \(2,\) .* got \(3,\)"):
        optimizer.step([(np.zeros(3), np.zeros(3))])
    # averages may begin where a training without them goes on
    optimizer.load_state_dict({"iterations": np.array(10)})
    assert set(optimizer.state_dict()) == {"iterations"}
    weights = np.zeros(2)
    optimizer.step([(weights, np.ones(2))])
    assert np.array_equal(optimizer.averages["0"], weights) and optimizer.iterations == 11
    optimizer.ema_decay = None
    assert set(optimizer.state_dict()) == {"iterations"}


# ------------------------------------------------------------------------ gradients added up


def test_accumulated_gradients_are_the_mean_over_all_samples():
    weights, bias = np.zeros((1, 2)), np.zeros(1)
    accumulator = optim.Accumulator(3)
    batches = [(5, [1.0, 2.0], 3.0), (1, [7.0, -2.0], 0.0), (2, [0.0, 1.0], -4.0)]
    for samples, w, b in batches:
        grads = [np.array([w]), np.array([b])]
        kept = copy.deepcopy(grads)
        pairs = accumulator.add([(weights, grads[0]), (bias, grads[1])], samples)
        assert (pairs is None) == (samples != 2)
        assert all(np.array_equal(x, y) for x, y in zip(grads, kept, strict=True))
        for grad in grads:
            grad[...] = np.nan  # a layer may use its memory again
    assert [param for param, _ in pairs] == [weights, bias]
    assert np.array_equal(pairs[0][1], [[(5 + 7) / 8, (10 - 2 + 2) / 8]])
    assert np.array_equal(pairs[1][1], [(15 - 8) / 8])
    assert (accumulator.batches, accumulator.samples, accumulator.sums) == (0, 0, [])


def test_accumulating_one_batch_hands_the_pairs_on():
    pairs = [(np.zeros(1), np.ones(1))]
    assert optim.Accumulator().add(pairs, 4) is pairs


def test_the_sums_of_an_accumulator_go_by_the_names_of_the_parameters():
    accumulator, again = optim.Accumulator(3), optim.Accumulator(2)
    weights, bias = np.zeros((1, 2)), np.zeros(1)
    accumulator.add([(weights, np.ones((1, 2))), (bias, np.ones(1))], 4)
    state = accumulator.state_dict(["W", "b"])
    assert (state["steps"], state["batches"], state["samples"]) == (3, 1, 4)
    assert list(state["sums"]) == ["W", "b"] and np.array_equal(state["sums"]["b"], [4.0])
    assert accumulator.state_dict(["W"])["sums"] == {}  # another layer was frozen since
    again.load_state_dict(state)
    assert again.steps == 2
    pairs = again.add([(weights, np.ones((1, 2))), (bias, np.array([4.0]))], 2)
    assert np.array_equal(pairs[1][1], [(4 * 1 + 2 * 4) / 6])


def test_accumulating_other_parameters_is_an_error():
    accumulator = optim.Accumulator(2)
    accumulator.add([(np.zeros(2), np.ones(2))], 4)
    message = (
        r"^\[Model\] the trainable layers changed .*'gradient_accumulation_steps'.* finish_step\(\)"
    )
    with pytest.raises(RuntimeError, match=message):
        accumulator.add([(np.zeros(2), np.ones(2)), (np.zeros(3), np.ones(3))], 4)
    message = r"^\[Model\] 2 parameters .* gradients of 1 .* finish_step\(\)"
    with pytest.raises(RuntimeError, match=message):
        accumulator.finish([np.zeros(2), np.zeros(3)])
    accumulator.clear()
    assert accumulator.add([(np.zeros(3), np.ones(3))], 4) is None
    with pytest.raises(ValueError, match=r"^\[Model\.compile\] 'gradient_acc.* got 0"):
        optim.Accumulator(0)


# ----------------------------------------------------------------------------- users' optimizers


class ByIdentity(optim.Optimizer):
    """The short way of DESIGN's section 3: everything in step(), state by id(param)."""

    def __init__(self, lr):
        super().__init__(lr)
        self.velocities = {}

    def step(self, params_and_grads):
        for param, grad in params_and_grads:
            velocity = self.velocities.get(id(param), 0) * 0.9 - self.lr * grad
            self.velocities[id(param)] = velocity
            param += velocity


class Forgetful(optim.Optimizer):
    """Never calls super().__init__()."""

    slot_names = ("seen",)

    def __init__(self, lr):
        self.lr = lr

    def update(self, param, grad, slots):
        slots["seen"] += 1
        param -= self.lr * grad / slots["seen"]


def test_a_step_of_ones_own_works():
    rng = np.random.default_rng(4)
    weights, gradients = rng.normal(size=(3, 2)), rng.normal(size=(5, 3, 2))
    own, ours = weights.copy(), weights.copy()
    mine, momentum = ByIdentity(0.1), optim.SGDMomentum(0.1)
    for gradient in gradients:
        mine.step([(own, gradient)])
        momentum.step([(ours, gradient)])
    assert np.allclose(own, ours, rtol=1e-14, atol=0)
    assert set(mine.state_dict()) == {"iterations"}


def test_any_object_with_a_step_is_wrapped():
    stranger = Stranger(0.25)
    wrapped = optim.wrap(stranger)
    assert (wrapped.lr, wrapped.iterations, wrapped.schedule) == (0.25, 0, None)
    assert (wrapped.averages, wrapped.ema_decay, wrapped.state_dict()) == ({}, None, {})
    assert wrapped.has_own_step
    wrapped.lr = 0.5
    wrapped.load_state_dict({"iterations": 3})  # ignored: the object cannot
    wrapped.set_parameters(["W"], [1.0])
    assert vars(stranger) == {"lr": 0.5}

    class Whole(Stranger):
        param_names, iterations, schedule = None, 7, len

        def step(self, pairs):
            self.pairs = pairs

        def state_dict(self):
            return {"speed": np.ones(2)}

        def load_state_dict(self, state):
            self.loaded = state

    whole = Whole()
    wrapped = optim.wrap(whole)
    wrapped.set_parameters(["W"], [1.0])
    wrapped.step([1])
    wrapped.load_state_dict(wrapped.state_dict())
    assert (whole.param_names, whole.pairs, list(whole.loaded)) == (["W"], [1], ["speed"])
    assert (wrapped.iterations, wrapped.schedule) == (7, len)
    del whole.lr
    assert math.isnan(wrapped.lr)
    ours = optim.SGD()
    assert optim.wrap(ours) is ours and not ours.has_own_step


def test_settings_that_a_step_of_ones_own_would_ignore_are_errors():
    with pytest.raises(ValueError, match=r"\[ByIdentity\] 'clip_norm' has no effect .* got 1\.0"):
        ByIdentity(0.1).configure(clip_norm=1.0)
    with pytest.raises(ValueError, match=r"\[ByIdentity\] 'weight_decay' has no effect"):
        optim.get(ByIdentity(0.1), weight_decay=0.1)
    with pytest.raises(ValueError, match=r"\[ByIdentity\] 'clip_value' has no effect .* got 0\.5"):
        ByIdentity(0.1).configure(clip_value=0.5)
    with pytest.raises(ValueError, match=r"\[ByIdentity\] 'ema_decay' has no effect"):
        ByIdentity(0.1).configure(ema_decay=0.5)
    assert ByIdentity(0.1).configure() is not None
    assert ByIdentity(0.1).to_config() == {"class": "ByIdentity", "config": {"lr": 0.1}}


def test_an_update_of_ones_own_gets_state_and_settings():
    first, second = Forgetful(1.0), Forgetful(1.0)
    weights = np.zeros((1, 2))
    for _ in range(3):
        first.configure(clip_norm=1.0).step([(weights, np.array([[3.0, 4.0]]))])
    assert weights == pytest.approx(np.array([[-0.6, -0.8]]) * (1 + 1 / 2 + 1 / 3))
    assert first.state_dict()["seen/0"] == pytest.approx(3)
    assert (first.iterations, second.iterations) == (3, 0)
    assert set(second.state_dict()) == {"iterations"}


def test_a_subclass_without_a_rule_says_so():
    class Nothing(optim.Optimizer):
        pass

    with pytest.raises(NotImplementedError, match=r"\[Nothing\] must define update\(\) or step"):
        Nothing().step([(np.zeros(1), np.zeros(1))])


# ------------------------------------------------------------------------------ names and configs


@pytest.mark.parametrize("name", sorted(optim.NAME2OPTIMIZER))
def test_names_are_the_class_names_in_lower_case(name):
    assert type(optim.get(name)).__name__.lower() == name
    assert type(optim.get(name.upper())) is optim.NAME2OPTIMIZER[name]


def test_get_passes_arguments_on():
    optimizer = optim.get("sgd", learning_rate=0.5, momentum=0.3, clip_norm=2, nesterov=None)
    assert (optimizer.lr, optimizer.momentum, optimizer.clip_norm) == (0.5, 0.3, 2.0)
    assert optimizer.nesterov is False
    assert optim.get("adamw", weight_decay=0.2).weight_decay == 0.2
    assert optim.get("adam", lr=schedules.exponential(0.5, 0.1)).lr == 0.5


@pytest.mark.parametrize("cls", ALL)
def test_arguments_have_keras_names_too(cls):
    names = {"lr": "learning_rate", "beta1": "beta_1", "beta2": "beta_2", "eps": "epsilon"}
    names = {
        ours: name for ours, name in names.items() if ours in inspect.signature(cls).parameters
    }
    arguments = dict.fromkeys(names.values(), 0.25)
    for optimizer in (cls(**arguments), optim.get(cls.__name__, **arguments)):
        assert [getattr(optimizer, ours) for ours in names] == [0.25] * len(names)
        optimizer.learning_rate = 0.5
        assert optimizer.lr == optimizer.learning_rate == 0.5


def test_a_class_of_ones_own_takes_keras_names_unless_they_are_its_own():
    class Own(optim.Optimizer):
        def __init__(self, learning_rate=0.5, eps=1.0):
            super().__init__(learning_rate)
            self.eps = eps

    assert (Own(learning_rate=0.25).lr, Own(epsilon=3.0).eps) == (0.25, 3.0)
    assert Forgetful(learning_rate=0.125).lr == 0.125


def test_get_changes_only_what_is_given_of_an_object():
    optimizer = optim.Adam(lr=0.2, beta1=0.5).configure(weight_decay=0.1)
    optimizer.step([(np.zeros(2), np.ones(2))])
    assert optim.get(optimizer, beta2=0.9, clip_norm=3.0, lr=None) is optimizer
    assert (optimizer.lr, optimizer.beta1, optimizer.beta2) == (0.2, 0.5, 0.9)
    assert (optimizer.weight_decay, optimizer.clip_norm) == (0.1, 3.0)
    assert optimizer.iterations == 1 and "m/0" in optimizer.state_dict()
    rate = schedules.exponential(0.5, 0.1)
    assert optim.get(optimizer, learning_rate=rate).schedule is rate
    optim.get(optimizer, eps=1e-5)
    assert optimizer.schedule is rate
    with pytest.raises(ValueError, match=r"\[Adam\] 'beta1' .* got 1\.5"):
        optim.get(optimizer, beta1=1.5)
    assert optimizer.beta1 == 0.5


def test_get_sets_the_rate_of_a_class_that_does_not_take_one():
    class Fixed(optim.Optimizer):
        def __init__(self):
            self.lr = 0.5

    assert optim.get(Fixed(), lr=0.25).lr == 0.25


def test_a_name_of_a_class_that_does_not_take_the_rate(monkeypatch):
    monkeypatch.setitem(optim.NAME2OPTIMIZER, "norate", NoRate)
    assert optim.get("norate").lr == optim.Optimizer().lr == 0.01
    with pytest.raises(ValueError, match=r"^\[NoRate\] 'argument' must be one of .* got 'lr'"):
        optim.get("norate", lr=0.25)


class Stranger:
    """An optimizer that is no subclass of ours."""

    def __init__(self, lr=0.1):
        self.lr = lr

    def step(self, params_and_grads):
        pass


def test_get_takes_any_object_with_a_step():
    stranger = Stranger()
    assert optim.get(stranger, lr=0.3) is stranger
    assert stranger.lr == 0.3
    with pytest.raises(ValueError, match=r"\[Stranger\] 'clip_norm' needs an optimizer with a con"):
        optim.get(stranger, clip_norm=1.0)
    with pytest.raises(ValueError, match=r"\[Stranger\] 'clip_value' needs an optimizer with a co"):
        optim.get(stranger, clip_value=1.0)
    with pytest.raises(ValueError, match=r"^\[Stranger\] .* got 1\.0\.$"):
        optim.get(stranger, clip_norm=1.0)
    message = r"^\[Stranger\] 'argument' must be one of 'learning_rate', 'lr', got 'rho'"
    with pytest.raises(ValueError, match=message):
        optim.get(stranger, rho=1.0)


def test_get_sets_the_rate_of_an_object_that_has_one():
    class Rated:
        def __init__(self):
            self.lr = 0.5

        def step(self, params_and_grads):
            pass

    class Unrated:
        def __init__(self, rho=0.5):
            self.rho = rho

        def step(self, params_and_grads):
            pass

    assert optim.get(Rated(), learning_rate=0.25).lr == 0.25
    with pytest.raises(
        ValueError, match=r"^\[Unrated\] 'argument' must be one of .*'rho', got 'lr'"
    ):
        optim.get(Unrated(), lr=0.25)


def test_get_checks_what_is_given_beside_what_is_there():
    optimizer = optim.SGD(momentum=0.9)
    assert optim.get(optimizer, nesterov=True).nesterov
    assert optimizer.momentum == 0.9


@pytest.mark.parametrize(
    ("make", "kind", "message"),
    [
        (lambda: optim.get("adm"), ValueError, r"^\[nn\.optim\] 'optimizer' .* mean 'adam'\?"),
        (lambda: optim.get("adam", bete1=0.5), ValueError, r"\[Adam\] .*: did you mean 'beta1'"),
        (lambda: optim.Adam(lr=1, learning_rate=2), ValueError, r"\[Adam\] 'learning_rate' .*'lr'"),
        (lambda: optim.SGD(epsilon=0.1), TypeError, "epsilon"),
        (lambda: optim.get("sgd", momentun=0.5), ValueError, r"\[SGD\] .* mean 'momentum'\?"),
        (lambda: optim.get(optim.SGD(), wd=0.5), ValueError, r"\[SGD\] .* got 'wd'"),
        (
            lambda: optim.get("sgd", lr=1, learning_rate=2),
            ValueError,
            r"^\[SGD\] 'learning_rate' is another name of 'lr': give one of them, got 2\.$",
        ),
        (
            lambda: optim.get(3),
            TypeError,
            r"^\[nn\.optim\] 'optimizer' must be a name or an object with a step\(\) method, got 3",
        ),
        (lambda: optim.get(optim.SGD), TypeError, "must be a name or an object"),
        (lambda: optim.SGD(lr=-0.1), ValueError, r"\[SGD\] 'lr' .* got -0\.1"),
        (lambda: optim.SGD(lr="0.1"), ValueError, r"\[SGD\] 'lr' .* got '0\.1'"),
        (lambda: optim.SGD(lr=math.inf), ValueError, r"\[SGD\] 'lr' .* got inf"),
        (lambda: optim.SGD(momentum=1.0), ValueError, r"\[SGD\] 'momentum' .* got 1\.0"),
        (lambda: optim.SGDMomentum(momentum=-1), ValueError, r"\[SGDMomentum\] 'momentum'"),
        (lambda: optim.SGD(nesterov=True), ValueError, r"\[SGD\] 'nesterov' needs .*, got True\.$"),
        (lambda: optim.Adagrad(eps=0), ValueError, r"\[Adagrad\] 'eps' .* got 0"),
        (lambda: optim.RMSprop(rho=1), ValueError, r"\[RMSprop\] 'rho' .* got 1"),
        (lambda: optim.RMSprop(eps=-1), ValueError, r"\[RMSprop\] 'eps'"),
        (lambda: optim.Adam(beta1=1), ValueError, r"\[Adam\] 'beta1' must be .*\[0, 1\), got 1"),
        (lambda: optim.Adam(beta2=-0.1), ValueError, r"\[Adam\] 'beta2'"),
        (lambda: optim.Nadam(eps=0), ValueError, r"\[Nadam\] 'eps'"),
        (lambda: optim.AdamW(weight_decay=-1), ValueError, r"\[AdamW\] 'weight_decay' .* -1"),
        (lambda: optim.Lion(beta1=1), ValueError, r"\[Lion\] 'beta1' .* 1"),
        (lambda: optim.Lion(beta2=-1), ValueError, r"\[Lion\] 'beta2' .* -1"),
        (lambda: optim.Lion(weight_decay=-1), ValueError, r"\[Lion\] 'weight_decay' .* -1"),
        (lambda: optim.SGD().configure(weight_decay=-1), ValueError, r"\[SGD\] 'weight_decay'"),
        (lambda: optim.SGD().configure(clip_norm=0), ValueError, r"\[SGD\] 'clip_norm' .* got 0"),
        (lambda: optim.SGD().configure(clip_value=0), ValueError, r"\[SGD\] 'clip_value' .* 0"),
        (lambda: optim.SGD().configure(clip_value="1"), ValueError, r"'clip_value' .* got '1'"),
        (lambda: optim.SGD().configure(ema_decay=1), ValueError, r"\[SGD\] 'ema_decay' .* got 1"),
        (lambda: optim.SGD().configure(ema_decay=-0.1), ValueError, r"'ema_decay' .* got -0\.1"),
    ],
)
def test_wrong_arguments_are_errors(make, kind, message):
    with pytest.raises(kind, match=message):
        make()


@pytest.mark.parametrize("cls", ALL)
def test_config_round_trip(cls):
    optimizer = cls(lr=0.25).configure(weight_decay=0.125, clip_norm=3.0)
    config = optimizer.to_config()
    assert config["class"] == cls.__name__
    assert config["config"]["lr"] == 0.25
    restored = optim.from_config(json.loads(json.dumps(config)))
    assert type(restored) is cls
    assert restored.to_config() == config
    assert vars(restored).keys() == vars(optimizer).keys()
    for name, value in vars(restored).items():
        if name != "optimizer":  # of Lookahead, compared above
            assert value == vars(optimizer)[name]


@pytest.mark.parametrize("cls", ALL)
def test_every_argument_is_kept_and_stored(cls):
    given = {"lr": 0.3, "momentum": 0.2, "rho": 0.4, "beta1": 0.5, "beta2": 0.6, "eps": 1e-3}
    given |= {"weight_decay": 0.7, "nesterov": True, "steps": 4, "adam_lr_ratio": 0.1}
    given |= {"optimizer": optim.Nesterov(0.3), "k": 3, "alpha": 0.25}
    taken = {name: given[name] for name in inspect.signature(cls).parameters}
    optimizer = cls(**taken)
    assert {name: getattr(optimizer, name) for name in taken} == taken
    config = optimizer.to_config()["config"]
    taken |= {"optimizer": given["optimizer"].to_config()} if "optimizer" in taken else {}
    assert {name: config[name] for name in taken} == taken


def test_config_stores_the_optimizers_own_rate_while_fit_has_a_schedule():
    optimizer = optim.SGD(lr=0.5)
    optimizer.base_lr = 0.25
    assert optimizer.to_config()["config"]["lr"] == 0.25
    stranger = optim.Optimizer.__new__(NoRate)
    stranger.base_lr = 0.25
    assert "lr" not in stranger.to_config()["config"]


class NoRate(optim.Optimizer):
    def __init__(self):
        super().__init__()


def test_config_stores_the_present_rate_of_a_schedule():
    optimizer = optim.SGD(lr=schedules.exponential(0.5, 0.1))
    optimizer.step([(np.zeros(1), np.zeros(1))])
    assert optimizer.to_config()["config"]["lr"] == pytest.approx(0.05)


def test_config_of_a_registered_class(monkeypatch):
    monkeypatch.setitem(optim.NAME2OPTIMIZER, "forgetful", Forgetful)
    restored = optim.from_config(Forgetful(0.5).to_config())
    assert type(restored) is Forgetful and restored.lr == 0.5
