"""Two network namespaces as two machines, over TCP; see `two_machines.py`."""

import pytest
import two_machines

pytestmark = pytest.mark.skipif(bool(two_machines.why_not()), reason=two_machines.why_not())


def test_two_machines_train_as_one(tmp_path):
    output, status = two_machines.run(tmp_path, cut=False)
    assert status == 0, output
    assert "rank 0" in output and "rank 1" in output


def test_a_link_that_is_cut_ends_the_training_with_an_error(tmp_path):
    output, status = two_machines.run(tmp_path, cut=True)  # which checks the deadline
    assert status != 0
    assert "[distributed] rank 1 (" in output, output
    assert "has not answered for 4 s, and rank 0 (" in output, output
