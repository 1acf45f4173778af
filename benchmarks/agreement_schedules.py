"""The schedules of nn against PyTorch's: the rate of every step.

Where the conventions differ, a case says what PyTorch's scheduler is given for nn's arguments.
"""

from types import SimpleNamespace

import numpy as np
import torch
from torch.optim import lr_scheduler

import nn
from nn.optim import schedules

LR = 2.0  # large, as differences count absolutely below 1


def rates(make, steps, lr=LR):
    """Return the rates of PyTorch's scheduler for steps 0..steps-1."""
    optimizer = torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=lr)
    scheduler = make(optimizer)
    found = []
    for _ in range(steps):
        found.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        scheduler.step()
    return np.array(found)


def compare(schedule, make, steps):
    """Compare a schedule's rates with those of the scheduler that `make` returns."""
    return {"rates": ([schedule(step) for step in range(steps)], rates(make, steps))}


def schedule_cases(rng):
    """Yield every schedule that PyTorch has too."""
    yield (
        "step_decay",
        compare(
            schedules.step_decay(LR, every=7, factor=0.3),
            lambda o: lr_scheduler.StepLR(o, 7, gamma=0.3),
            50,
        ),
    )
    yield (
        "multi_step",
        compare(
            schedules.multi_step(LR, [3, 4, 20], factor=0.5),
            lambda o: lr_scheduler.MultiStepLR(o, [3, 4, 20], gamma=0.5),
            30,
        ),
    )
    for rate in (0.9, 1.02):
        yield (
            f"exponential rate={rate}",
            compare(
                schedules.exponential(LR, rate),
                lambda o, g=rate: lr_scheduler.ExponentialLR(o, g),
                50,
            ),
        )
    for lr_min in (0.0, 0.3):
        yield (
            f"cosine lr_min={lr_min}",  # after total_steps PyTorch's rises again, nn's stays
            compare(
                schedules.cosine(LR, 40, lr_min=lr_min),
                lambda o, m=lr_min: lr_scheduler.CosineAnnealingLR(o, 40, eta_min=m),
                41,
            ),
        )

    def warmed_up(optimizer):
        # nn's first step has the rate lr / (warmup_steps + 1), PyTorch's is given that share
        rising = lr_scheduler.LinearLR(optimizer, start_factor=1 / 6, total_iters=5)
        falling = lr_scheduler.CosineAnnealingLR(optimizer, 35)
        return lr_scheduler.SequentialLR(optimizer, [rising, falling], milestones=[5])

    yield "cosine warmup_steps=5", compare(schedules.cosine(LR, 40, warmup_steps=5), warmed_up, 41)
    for multiplier, lr_min in ((1, 0.0), (2, 0.3), (3, 0.0)):
        yield (
            f"warm_restarts multiplier={multiplier}",
            compare(
                schedules.warm_restarts(LR, 6, multiplier, lr_min),
                lambda o, m=multiplier, e=lr_min: lr_scheduler.CosineAnnealingWarmRestarts(
                    o, 6, T_mult=m, eta_min=e
                ),
                100,
            ),
        )
    for total in (10, 100, 333):
        yield (
            f"one_cycle total_steps={total}",
            compare(
                schedules.one_cycle(LR, total),
                lambda o, t=total: lr_scheduler.OneCycleLR(
                    o, LR, total_steps=t, cycle_momentum=False
                ),
                total,
            ),
        )

    def each_epoch(optimizer):
        scheduler = lr_scheduler.StepLR(optimizer, 2, gamma=0.5)
        batches = iter(range(1, 1000))
        return SimpleNamespace(step=lambda: next(batches) % 10 or scheduler.step())

    of_epochs = schedules.by_epoch(schedules.step_decay(LR, every=2, factor=0.5), 10)
    yield "by_epoch", compare(of_epochs, each_epoch, 95)
    for mode, patience, delta in (("max", 1, 0.0), ("max", 3, 0.05), ("min", 2, 0.01)):
        figures = np.round(rng.normal(size=60).cumsum() * 0.05, 2)
        yield (
            f"ReduceLROnPlateau mode={mode} patience={patience}",
            compare_plateau(figures, mode, patience, delta),
        )


def compare_plateau(figures, mode, patience, delta):
    """Compare the rates that both choose as the same figures come in, epoch by epoch."""
    callback = nn.callbacks.ReduceLROnPlateau(
        "val", patience=patience, factor=0.5, min_delta=delta, lr_min=0.01, mode=mode
    )
    model = nn.Model([nn.Dense(1, input_shape=(1,))])
    model.compile("mse", nn.optim.SGD(LR))
    callback.set_model(model)
    callback.on_train_begin({})
    optimizer = torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=LR)
    scheduler = lr_scheduler.ReduceLROnPlateau(
        optimizer,
        mode,
        factor=0.5,
        patience=patience - 1,  # PyTorch acts in the epoch after so many, nn in the last of them
        threshold=delta,
        threshold_mode="abs",
        min_lr=0.01,
    )
    ours, theirs = [], []
    for epoch, figure in enumerate(figures):
        callback.on_epoch_end(epoch, {"val": float(figure)})
        scheduler.step(float(figure))
        ours.append(model.optimizer.lr)
        theirs.append(optimizer.param_groups[0]["lr"])
    assert len(set(theirs)) > 3, "the rate hardly ever fell: nothing was compared"
    return {"rates": (ours, np.array(theirs))}


CASES = (schedule_cases,)
