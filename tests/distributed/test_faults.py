"""A process that fails ends the job, within a deadline, with a message that names it."""

import os
import random

import kill_ranks
import pytest
from launching import ROOT, environment, find_mpiexec, launch

import nn

SCRIPT = ROOT / "tests" / "distributed" / "faults.py"

pytestmark = pytest.mark.skipif(find_mpiexec()[0] is None, reason=find_mpiexec()[1])


def test_an_exception_of_one_process_comes_in_all_and_they_can_go_on():
    ended = launch(2, SCRIPT, "together")
    assert ended.returncode == 0, ended.stdout
    assert "rank 0 came to its end" in ended.stdout
    assert "rank 1 came to its end" in ended.stdout
    # Rank 0 alone prints.
    assert ended.stdout.count("[TerminateOnNaN] epoch 1, batch 0") == 1
    assert ended.stdout.count("Interrupted in epoch 1") == 1


def test_calls_that_differ_between_processes_are_errors_in_all():
    ended = launch(2, ROOT / "tests" / "distributed" / "disagree.py")
    assert ended.returncode == 0, ended.stdout
    assert ended.stdout.count("calls that differ were refused") == 2


def test_processes_that_each_train_a_model_of_their_own_are_warned_of(monkeypatch):
    monkeypatch.setenv("PMI_SIZE", "2")
    model = nn.Model([nn.Dense(2)], seed=0)
    model.compile("cce", "sgd")
    with pytest.warns(UserWarning, match="one of 2 processes .* pass distributed=nn.distributed.M"):
        model.fit([[0.0], [1.0]], [0, 1], verbose=0)


@pytest.mark.skipif(not hasattr(os, "sched_setaffinity"), reason="no affinity to set")
def test_processes_share_the_cores_of_a_machine():
    ended = launch(2, SCRIPT, "share cores")
    assert ended.returncode == 0, ended.stdout


@pytest.mark.parametrize(
    "way, timeout, message",
    [
        ("raise", "60", "KeyError: 'the callback failed'"),
        ("raise outside", "60", "KeyError: 'the callback failed'"),
        ("leave", "60", "rank 1 (.*) has ended its program, and rank 0 .* waits for it in fit()"),
        ("stop", "2", "rank 1 (.*) has not answered for 2 s, and rank 0 .* waits for it in fit()"),
        ("alone", "2", "all processes wait for one another .* (rank 0 in evaluate(), rank 1 in f"),
        ("another call", "60", "same order: rank 0 calls evaluate(), rank 1 calls fit()."),
        ("kill", "60", ""),
        ("terminate", "60", ""),
    ],
)
def test_a_process_that_fails_ends_the_job_and_is_named(way, timeout, message):
    ended = launch(2, SCRIPT, way, timeout, timeout=180)  # on a busy machine; alone it takes 5 s
    assert ended.returncode != 0
    assert "came to its end" not in ended.stdout
    place = 0
    for part in message.split(".*"):
        assert part in ended.stdout[place:], ended.stdout
        place = ended.stdout.index(part, place)


def test_killed_at_random_moments_a_training_ends_and_is_resumed_bit_for_bit(tmp_path):
    """Two kills, at a moment of an old seed and of a new one; `kill_ranks.py` makes more."""
    seeds = [5, random.randrange(10**6)]
    print(f"seeds {seeds}")
    took, held = kill_ranks.run(tmp_path, 2, ranks=2, seeds=seeds, env=environment())
    assert len(took) == len(held) == 2
