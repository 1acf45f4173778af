"""Two network namespaces as two machines: a training over TCP, and the link between them cut.

    python tests/distributed/two_machines.py

Each namespace has its own network; a pair of virtual cables is the only way between them. `mpiexec`
starts the process of the other machine by a script in place of ssh. Needs Linux, root, iproute2 and
MPICH.
"""

import contextlib
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

sys.path[:0] = [str(Path(__file__).resolve().parents[k]) for k in (0, 2)]

from launching import environment, find_mpiexec  # noqa: E402

HOSTS = ("10.77.0.1", "10.77.0.2")
TIMEOUT = 4  # seconds that a process waits for the other, with the link cut
DEADLINE = 30.0  # seconds until both have ended then

# UCX would see that both are the same machine, and exchange data in its memory.
_TCP = {"MPIR_CVAR_CH4_NETMOD": "ofi", "FI_PROVIDER": "tcp"}

SSH = """#!/bin/sh
# It is called as ssh is, with options, a host and a command.
while [ "${{1#-}}" != "$1" ]; do shift; done
host=$1; shift
case $host in {first}) space={spaces[0]};; *) space={spaces[1]};; esac
exec ip netns exec $space sh -c "$*"
"""

TRAIN = """
import sys, nn
from faults import At, fit, model_and_data
team = nn.distributed.MPI(timeout={timeout})
assert team.size == 2 and team.local_size == 1, team.local_size
_, shared = fit(team)
_, alone = fit(None)
assert abs(shared["loss"][-1] - alone["loss"][-1]) < 1e-5, (shared, alone)
sys.stdout.write(f"rank {{team.rank}} trained\\n")  # in one piece, next to the other process's
sys.stdout.flush()
if sys.argv[1] == "cut":
    model, x, y = model_and_data(team)
    model.fit(x, y, epochs=10**6, verbose=0)
"""


def why_not():
    """Return why two machines cannot be had here; '' if they can."""
    mpiexec, reason = find_mpiexec()
    if mpiexec is None:
        return reason
    if len(mpiexec) > 1:
        return "the mpiexec is not MPICH's"
    if not hasattr(os, "geteuid") or os.geteuid() != 0 or shutil.which("ip") is None:
        return "network namespaces need root and iproute2"
    probe = f"nnprobe{os.getpid()}"
    made = subprocess.run(["ip", "netns", "add", probe], capture_output=True, text=True)
    if made.returncode:
        return f"no network namespaces: {made.stderr.strip()}"
    subprocess.run(["ip", "netns", "del", probe], check=True)
    return ""


def ip(*arguments):
    subprocess.run(["ip", *arguments], check=True)


@contextlib.contextmanager
def two_machines():
    """Connect two namespaces; yield their names and those of their ends of the cable."""
    number = os.getpid()
    spaces, ends = (f"nn{number}a", f"nn{number}b"), (f"nv{number}a", f"nv{number}b")
    try:
        for space in spaces:
            ip("netns", "add", space)
        ip("link", "add", ends[0], "type", "veth", "peer", "name", ends[1])
        for space, end, host in zip(spaces, ends, HOSTS, strict=True):
            ip("link", "set", end, "netns", space)
            ip("-n", space, "addr", "add", f"{host}/24", "dev", end)
            ip("-n", space, "link", "set", end, "up")
            ip("-n", space, "link", "set", "lo", "up")
        yield spaces, ends
    finally:
        for space in spaces:
            for process in processes_in(space):
                os.kill(int(process), signal.SIGKILL)
            subprocess.run(["ip", "netns", "del", space], check=False, capture_output=True)


def processes_in(space):
    found = subprocess.run(["ip", "netns", "pids", space], capture_output=True, text=True).stdout
    return found.split()


def run(folder, cut):
    """Train on both machines; cut the link if asked for. Return the output and the status."""
    folder = Path(folder)
    with two_machines() as (spaces, ends):
        ssh, script = folder / "ssh", folder / "train.py"
        ssh.write_text(SSH.format(first=HOSTS[0], spaces=spaces))
        ssh.chmod(0o755)
        script.write_text(TRAIN.format(timeout=TIMEOUT))
        job = subprocess.Popen(
            [
                *("ip", "netns", "exec", spaces[0], *find_mpiexec()[0]),
                *("-launcher", "ssh", "-launcher-exec", str(ssh), "-hosts", ",".join(HOSTS)),
                *("-n", "2", sys.executable, str(script), "cut" if cut else "whole"),
            ],
            env={**environment(**_TCP), **_path_of_tests()},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        lines = []
        if cut:
            while sum("trained" in line for line in lines) < 2:
                lines.append(job.stdout.readline())
                assert lines[-1], "".join(lines)
            time.sleep(1.0)
            ip("-n", spaces[0], "link", "set", ends[0], "down")
        since = time.monotonic()
        try:
            rest = job.communicate(timeout=DEADLINE if cut else 120)[0]
        except subprocess.TimeoutExpired:
            job.kill()
            rest = job.communicate()[0]
            raise AssertionError("".join(lines) + rest) from None
        while any(map(processes_in, spaces)) and time.monotonic() - since < DEADLINE:
            time.sleep(0.1)
        left = [process for space in spaces for process in processes_in(space)]
        assert not left, f"processes {left} are left"
        return "".join(lines) + rest, job.returncode


def _path_of_tests():
    here = str(Path(__file__).resolve().parent)
    return {"PYTHONPATH": os.pathsep.join([here, environment()["PYTHONPATH"]])}


def main():
    reason = why_not()
    if reason:
        raise SystemExit(reason)
    for cut in (False, True):
        with tempfile.TemporaryDirectory() as folder:
            start = time.monotonic()
            output, status = run(folder, cut)
            print(output)
            kind = "with the link cut" if cut else "whole"
            print(f"{kind}: status {status}, {time.monotonic() - start:.1f} s\n")


if __name__ == "__main__":
    main()
