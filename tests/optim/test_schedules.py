"""The schedules against values worked out by hand, their limits, and their arguments' rules."""

import math

import numpy as np
import pytest

from nn.optim import schedules


def test_step_decay_is_a_staircase():
    lr = schedules.step_decay(0.5, every=4)
    assert [lr(step) for step in range(4)] == [0.5] * 4
    assert lr(4) == pytest.approx(0.05, rel=1e-15)
    assert lr(7) == lr(4)
    assert lr(8) == pytest.approx(0.005, rel=1e-15)


def test_multi_step_falls_at_each_milestone():
    lr = schedules.multi_step(1.0, [2, 3, 10], factor=0.5)
    assert [lr(step) for step in (0, 1, 2, 3, 9, 10, 99)] == [1, 1, 0.5, 0.25, 0.25, 0.125, 0.125]


def test_multi_step_keeps_its_own_milestones():
    milestones = [2]
    lr = schedules.multi_step(1.0, milestones, factor=0.5)
    milestones.append(3)
    assert lr(5) == 0.5


def test_multi_step_without_milestones_is_constant():
    assert schedules.multi_step(0.3, [])(1000) == 0.3


def test_exponential_multiplies_at_each_step():
    lr = schedules.exponential(0.3, 0.9)
    assert lr(0) == 0.3
    for step in range(20):
        assert lr(step + 1) / lr(step) == pytest.approx(0.9, rel=1e-14)


def test_cosine_follows_the_formula_of_sgdr():
    lr = schedules.cosine(0.4, total_steps=7, lr_min=0.1)
    for step in range(8):
        expected = 0.1 + 0.5 * (0.4 - 0.1) * (1 + math.cos(step / 7 * math.pi))
        assert lr(step) == pytest.approx(expected, rel=1e-15)
    assert lr(7) == lr(8) == lr(10**9) == 0.1


def test_cosine_warms_up_in_equal_steps():
    lr = schedules.cosine(1.0, total_steps=20, warmup_steps=4)
    assert [lr(step) for step in range(5)] == pytest.approx([0.2, 0.4, 0.6, 0.8, 1.0], rel=1e-15)
    assert lr(12) == pytest.approx(0.5, rel=1e-15)
    assert lr(20) == 0.0


def test_warm_restarts_begin_again_at_the_full_rate():
    lr = schedules.warm_restarts(0.4, first_period=3, multiplier=2, lr_min=0.1)
    starts = [step for step in range(50) if lr(step) == 0.4]
    assert starts == [0, 3, 9, 21, 45]
    assert lr(6) == pytest.approx(0.25, rel=1e-15)  # halfway through the second period
    assert all(lr(step) > 0.1 for step in range(50))


def test_warm_restarts_of_equal_periods():
    lr = schedules.warm_restarts(0.4, first_period=5, multiplier=1)
    assert [lr(step + 5 * 10**12) for step in range(10)] == [lr(step) for step in range(10)]
    assert lr(5) == 0.4 > lr(6)


def test_one_cycle_rises_then_falls():
    lr = schedules.one_cycle(0.5, total_steps=50)
    rates = [lr(step) for step in range(51)]
    assert rates[0] == pytest.approx(0.5 / 25, rel=1e-14)
    assert rates[14] == max(rates) == 0.5
    assert rates[:15] == sorted(rates[:15])
    assert rates[14:] == sorted(rates[14:], reverse=True)
    assert rates[49] == lr(10**6) == pytest.approx(0.5 / 25 / 1e4, rel=1e-12)


def test_one_cycle_has_the_rates_of_pytorch():
    # torch.optim.lr_scheduler.OneCycleLR(max_lr=0.1, total_steps=12), PyTorch 2.13
    expected = [
        *(0.004, 0.03497897, 0.08792852, 0.09944154, 0.0933013, 0.08117457),
        *(0.0647379, 0.04626371, 0.0283061, 0.01334775, 0.0034567, 4e-07),
    ]
    lr = schedules.one_cycle(0.1, 12)
    assert [lr(step) for step in range(12)] == pytest.approx(expected, abs=5e-9)


@pytest.mark.parametrize("total_steps", [1, 2, 3, 4, 10, 12, 99, 1000])
def test_one_cycle_equals_pytorch_step_by_step(total_steps):
    torch = pytest.importorskip("torch")
    optimizer = torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=0.1)
    scheduler = torch.optim.lr_scheduler.OneCycleLR(
        optimizer, 0.1, total_steps=total_steps, cycle_momentum=False
    )
    lr = schedules.one_cycle(0.1, total_steps)
    for step in range(total_steps):
        assert lr(step) == pytest.approx(optimizer.param_groups[0]["lr"], rel=1e-12, abs=1e-15)
        optimizer.step()
        if step < total_steps - 1:
            scheduler.step()


def test_triangular_rises_then_falls_in_straight_lines():
    lr = schedules.triangular(0.5, total_steps=20, start=0.2, end=0.1, peak=0.25)
    rates = [lr(step) for step in range(25)]
    assert rates[:6] == pytest.approx([0.1, 0.18, 0.26, 0.34, 0.42, 0.5])
    assert rates[5:21] == pytest.approx(list(np.linspace(0.5, 0.05, 16)))
    assert rates[20:] == [0.05] * 5


def test_triangular_has_the_rates_of_numpys_interpolation():
    """The recipe's own form: `np.interp` through the start, the peak and the end."""
    lr = schedules.triangular(1.5, 476)
    peak = int(0.23 * 476)
    expected = np.interp(range(477), [0, peak, 476], [0.3, 1.5, 0.105])
    assert [lr(step) for step in range(477)] == pytest.approx(expected.tolist(), rel=1e-12)


def test_triangular_may_begin_at_its_peak():
    lr = schedules.triangular(1.0, 4, peak=0.0, end=0.0)
    assert [lr(step) for step in range(6)] == [1.0, 0.75, 0.5, 0.25, 0.0, 0.0]


def test_trapezoidal_rises_stays_and_falls():
    lr = schedules.trapezoidal(0.8, 12, warmup_steps=3, decay_steps=4)
    expected = [0.2, 0.4, 0.6, 0.8, 0.8, 0.8, 0.8, 0.8, 0.8, 0.6, 0.4, 0.2, 0.0, 0.0]
    assert [lr(step) for step in range(14)] == pytest.approx(expected)
    flat = schedules.trapezoidal(0.8, 5, 0, 0)
    assert [flat(step) for step in range(6)] == [0.8] * 5 + [0.0]


def test_by_epoch_keeps_the_rate_for_so_many_steps():
    lr = schedules.by_epoch(schedules.multi_step(1.0, [1, 3], factor=0.5), steps_per_epoch=2)
    assert [lr(step) for step in range(8)] == [1, 1, 0.5, 0.5, 0.5, 0.5, 0.25, 0.25]


@pytest.mark.parametrize("total_steps", [1, 2, 3, 4])
def test_one_cycle_of_few_steps(total_steps):
    lr = schedules.one_cycle(0.5, total_steps)
    assert all(0 < lr(step) <= 0.5 for step in range(total_steps))
    assert lr(total_steps - 1) == lr(total_steps) < 1e-4


def test_a_schedule_is_a_pure_function():
    lr = schedules.warm_restarts(0.1, 4)
    there = [lr(step) for step in range(30)]
    back = [lr(step) for step in reversed(range(30))]
    assert there == back[::-1]


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: schedules.step_decay(-0.1, 5), r"\[step_decay\] 'lr' must be a positive number"),
        (lambda: schedules.step_decay(0.1, 0), r"\[step_decay\] 'every' must be a positive int"),
        (lambda: schedules.step_decay(0.1, 2.5), r"\[step_decay\] 'every' .* got 2\.5"),
        (lambda: schedules.step_decay(0.1, 5, 1.5), r"\[step_decay\] 'factor' .*\(0, 1\].* 1\.5"),
        (lambda: schedules.step_decay(0.1, 5, 0), r"\[step_decay\] 'factor'"),
        (
            lambda: schedules.multi_step(0.1, [3, 2]),
            r"\[multi_step\] 'milestones' must be strictly",
        ),
        (
            lambda: schedules.multi_step(0.1, [3, 3]),
            r"\[multi_step\] 'milestones' must be strictly",
        ),
        (lambda: schedules.multi_step(0.1, [-1]), r"\[multi_step\] 'milestones' .* got -1"),
        (lambda: schedules.multi_step(0.1, [1], 2), r"\[multi_step\] 'factor'"),
        (lambda: schedules.exponential(0.1, 0), r"\[exponential\] 'rate'"),
        (lambda: schedules.exponential("fast", 0.5), r"\[exponential\] 'lr' .* got 'fast'"),
        (lambda: schedules.cosine(0.1, 0), r"\[cosine\] 'total_steps'"),
        (lambda: schedules.cosine(0.1, 10, lr_min=0.2), r"\[cosine\] 'lr_min' .* 0\.1, got 0\.2"),
        (lambda: schedules.cosine(0.1, 10, lr_min=-1), r"\[cosine\] 'lr_min'"),
        (lambda: schedules.cosine(0.1, 10, warmup_steps=10), r"'warmup_steps' must be below"),
        (lambda: schedules.cosine(0.1, 10, warmup_steps=-1), r"\[cosine\] 'warmup_steps'"),
        (lambda: schedules.warm_restarts(0.1, 0), r"\[warm_restarts\] 'first_period'"),
        (lambda: schedules.warm_restarts(0.1, 5, 0), r"\[warm_restarts\] 'multiplier'"),
        (lambda: schedules.warm_restarts(0.1, 5, 2, 0.3), r"\[warm_restarts\] 'lr_min'"),
        (lambda: schedules.one_cycle(0, 5), r"\[one_cycle\] 'max_lr'"),
        (lambda: schedules.one_cycle(0.1, True), r"\[one_cycle\] 'total_steps'"),
        (lambda: schedules.triangular(0, 5), r"\[triangular\] 'lr'"),
        (lambda: schedules.triangular(0.1, 0), r"\[triangular\] 'total_steps'"),
        (lambda: schedules.triangular(0.1, 5, start=2), r"\[triangular\] 'start' .* got 2"),
        (lambda: schedules.triangular(0.1, 5, end=-1), r"\[triangular\] 'end' .* got -1"),
        (lambda: schedules.triangular(0.1, 5, peak=1), r"\[triangular\] 'peak' .* got 1"),
        (lambda: schedules.trapezoidal(0, 5, 1, 1), r"\[trapezoidal\] 'lr'"),
        (lambda: schedules.trapezoidal(1, 5, -1, 1), r"\[trapezoidal\] 'warmup_steps' .* -1"),
        (
            lambda: schedules.trapezoidal(1, 5, 3, 3),
            r"\[trapezoidal\] 'decay_steps' .* 2, .* got 3",
        ),
        (lambda: schedules.by_epoch(0.1, 5), r"\[by_epoch\] 'schedule' must be a function"),
        (lambda: schedules.by_epoch(abs, 0), r"\[by_epoch\] 'steps_per_epoch' must be a positive"),
    ],
)
def test_arguments_out_of_range_are_errors(make, message):
    with pytest.raises(ValueError, match=message):
        make()
