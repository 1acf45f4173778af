"""What mutation testing finds: how many mutants are killed, which survive, and why they may.

    python -m pip install -e ".[images,plot,tensorboard,test,mutation]"
    mutmut run
    python tests/mutants.py

`mutmut` changes one thing at a time in the files that all else stands on (pyproject.toml names them
and the tests) and runs the tests that call the changed function. A test that fails kills the
mutant. Those that live are compared with `tests/survivors.md`, where each stands under the reason
why: the script prints a table, names survivors that are missing there and entries that no longer
live, and exits with 1 where there are any. `--write` puts the page in order: what no longer lives
is taken out, and what is new is added at the end, to be looked at.

Install it without Numba: where it is, the compiled kernels take the place of the ones to be tested.
Let `mutmut` write to a terminal or a pipe: one of the tests forbids files to grow, its log's too.
"""

import argparse
import importlib.util
import json
import re
import sys
from collections import Counter
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
PAGE = ROOT / "tests" / "survivors.md"
NEW = "Not looked at yet"
ALIVE = ("survived", "no tests")


def results():
    """Return {file of nn: {name of the mutant: what became of it}} of mutmut's last run."""
    from mutmut.stats import status_by_exit_code

    found = {}
    for meta in sorted((ROOT / "mutants").rglob("*.meta")):
        codes = json.loads(meta.read_text(encoding="utf-8"))["exit_code_by_key"]
        if codes:
            path = meta.relative_to(ROOT / "mutants").with_suffix("").as_posix()
            found[path] = {name: status_by_exit_code[code] for name, code in codes.items()}
    return found


def describe(path, mutant):
    """Return a mutant as `path: function` and the lines that it takes out and puts in."""
    from mutmut.mutation.diff_apply import get_diff_for_mutant

    name = mutant.rpartition(".")[2].rpartition("__mutmut_")[0]
    function = name.removeprefix("x_").removeprefix("xǁ").replace("ǁ", ".")
    diff = get_diff_for_mutant(mutant, path=path).splitlines()[2:]
    return "\n".join([f"{path}: {function}", *(line for line in diff if line[0] in "+-")])


def read_page(text):
    """Return what stands before the first reason, and {reason: mutants beneath it}."""
    head, *sections = re.split(r"^## ", text, flags=re.MULTILINE)
    reasons = {}
    for section in sections:
        reason = section.partition("```")[0].strip()
        blocks = re.findall(r"^```diff\n(.*?)\n```$", section, flags=re.MULTILINE | re.DOTALL)
        reasons[reason] = [mutant for block in blocks for mutant in block.split("\n\n")]
    return head, reasons


def write_page(head, reasons):
    """Return the text that `read_page` reads."""
    parts = [head.rstrip()]
    for reason, mutants in reasons.items():
        if mutants:
            parts.append(f"## {reason}\n\n```diff\n" + "\n\n".join(mutants) + "\n```")
    return "\n\n".join(parts) + "\n"


def compare(reasons, alive):
    """Return which mutants alive have no reason, and which with a reason live no longer."""
    listed = Counter(mutant for mutants in reasons.values() for mutant in mutants)
    return list((Counter(alive) - listed).elements()), list((listed - Counter(alive)).elements())


def renew(reasons, missing, gone):
    """Return the reasons without the mutants that are gone, and with the missing ones as new."""
    left = Counter(gone)
    renewed = {}
    for reason, mutants in reasons.items():
        renewed[reason] = []
        for mutant in mutants:
            if left[mutant]:
                left[mutant] -= 1
            else:
                renewed[reason].append(mutant)
    renewed.setdefault(NEW, []).extend(missing)
    return renewed


def print_table(found):
    """Print the share of mutants killed, file by file."""
    print("| file | mutants | alive | killed |\n| --- | --- | --- | --- |")
    counts = {
        path: (len(mutants), sum(end in ALIVE for end in mutants.values()))
        for path, mutants in found.items()
    }
    counts["all"] = tuple(map(sum, zip(*counts.values(), strict=True)))
    for path, (number, alive) in counts.items():
        print(f"| {path} | {number} | {alive} | {100 * (number - alive) / number:.1f}% |")


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--write", action="store_true", help="bring tests/survivors.md up to date")
    options = parser.parse_args()
    if importlib.util.find_spec("mutmut") is None:
        sys.exit("mutants.py needs mutmut: pip install -e '.[test,mutation]', without Numba.")
    found = results()
    ends = Counter(end for mutants in found.values() for end in mutants.values())
    if not found or ends["not checked"]:
        sys.exit(
            f"{ends['not checked']} mutants are not checked: let `mutmut run` come to its end."
        )
    print_table(found)
    print("\n" + ", ".join(f"{number} {end}" for end, number in ends.most_common()))
    alive = [
        describe(path, name)
        for path, mutants in found.items()
        for name, end in mutants.items()
        if end in ALIVE
    ]
    head, reasons = read_page(PAGE.read_text(encoding="utf-8"))
    missing, gone = compare(reasons, alive)
    if options.write:
        PAGE.write_text(write_page(head, renew(reasons, missing, gone)), encoding="utf-8")
    for title, mutants in (("not in the page", missing), ("in the page, but dead", gone)):
        if mutants:
            print(f"\n{len(mutants)} {title}:\n\n" + "\n\n".join(mutants))
    unread = len(reasons.get(NEW, []))
    if unread:
        print(f"\n{unread} under '{NEW}'")
    sys.exit(1 if missing or gone or unread else 0)


if __name__ == "__main__":
    main()
