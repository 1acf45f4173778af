"""A process that fails ends the job, within a deadline, with a message that names it."""

import os
import random

import kill_ranks
import pytest
from launching import ROOT, environment, find_mpiexec, launch

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


@pytest.mark.parametrize("seed, kills", [(5, 2), (random.randrange(10**6), 1)], ids=["5", "new"])
def test_killed_at_random_moments_a_training_ends_and_is_resumed_bit_for_bit(seed, kills, tmp_path):
    """Three kills; `kill_ranks.py --kills 20` makes more."""
    print(f"seed {seed}")
    took, held = kill_ranks.run(tmp_path, kills, ranks=2, seed=seed, env=environment())
    assert len(took) == len(held) == kills
