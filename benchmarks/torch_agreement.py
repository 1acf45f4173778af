"""Layers, losses, optimizers, schedules and metrics of nn against PyTorch, scikit-learn and Keras.

A row is a case, or many alike; its figure is the largest difference over all their arrays, each
taken relative to the largest value of the other library's array: max|a - b| / max(1, max|b|), in
float32. Beside it stands the array that differs most. Exits with 1 where a row is above the
tolerance of 1e-5, or where something that `--list` names was not compared although its library is
installed. It needs torch (a CPU build will do), which nn itself never does; metrics are compared
with whichever of scikit-learn, Keras and PyTorch there are.

    python benchmarks/torch_agreement.py
    python benchmarks/torch_agreement.py --only Conv2D
    python benchmarks/torch_agreement.py --group metrics
    python benchmarks/torch_agreement.py --list        # what is compared with what; needs no torch
"""

import argparse
import os
import sys
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parent))  # where it is run by its path alone

os.environ.setdefault("KERAS_BACKEND", "torch")  # by default Keras needs TensorFlow

from agreement_common import TOLERANCE, difference
from agreement_table import COUNTERPARTS, as_text, libraries


def cases_of(group):
    """Return the case functions of a group; their modules need torch, but for the metrics."""
    if group == "metrics":
        import agreement_metrics as module
    elif group == "layers":
        import agreement_layers
        import agreement_more_layers
        import agreement_sequences

        modules = (agreement_layers, agreement_more_layers, agreement_sequences)
        return [cases for module in modules for cases in module.CASES]
    elif group == "losses":
        import agreement_losses as module
    elif group == "optimizers":
        import agreement_optimizers as module
        from agreement_metrics import has

        if has("keras"):
            import agreement_keras

            return (*module.CASES, *agreement_keras.CASES)
    elif group == "schedules":
        import agreement_schedules as module
    elif group == "recipes":
        import agreement_recipes as module
    else:
        import agreement_training as module
    return module.CASES


def run(group, only=""):
    """Return {case: (number of comparisons, largest difference, where)} of a group."""
    rows = {}
    for cases in cases_of(group):
        for name, pairs in cases(np.random.default_rng(0)):
            if only not in name:
                continue
            worst, array = max((difference(*pair), label) for label, pair in pairs.items())
            case, _, detail = name.partition(" | ")
            count, largest, where = rows.get(case, (0, -1.0, ""))
            if worst > largest:
                largest, where = worst, f"{array} {detail}"
            rows[case] = (count + 1, largest, where)
    return rows


def not_compared(group, rows, installed):
    """Return the names of the table that had no case, although a library for it is installed."""
    seen = {case.split()[0] for case in rows}
    wanted = COUNTERPARTS.get(group, {}).items()
    return [name for name, text in wanted if name not in seen and libraries(text) & installed]


def print_rows(group, rows):
    print(f"\n{group}")
    for case, (count, largest, where) in rows.items():
        over = "  OVER" if largest > TOLERANCE else ""
        print(f"{case:<66} {count:4d}  {largest:7.1e}  {where}{over}")


def main():
    groups = [*COUNTERPARTS, "training", "recipes"]
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--only", default="", help="show the cases whose name contains this")
    parser.add_argument("--group", choices=groups, help="compare these alone")
    parser.add_argument("--list", action="store_true", help="say what is compared with what")
    args = parser.parse_args()
    if args.list:
        print(as_text())
        return
    import agreement_metrics

    installed = {
        library for library in agreement_metrics.LIBRARIES if agreement_metrics.has(library)
    }
    if not installed:
        sys.exit("None of torch, scikit-learn and Keras is installed: there is nothing to compare.")
    print(f"nn against {', '.join(sorted(installed))}; float32, tolerance {TOLERANCE:.0e}")
    found, missing = {}, []
    for group in [args.group] if args.group else groups:
        if group != "metrics" and "torch" not in installed:
            print(f"\n{group}: not compared, torch is not installed")
            continue
        found[group] = run(group, args.only)
        print_rows(group, found[group])
        missing += [] if args.only else not_compared(group, found[group], installed)
    rows = [row for group in found.values() for row in group.values()]
    if not rows:
        sys.exit(f"No case has {args.only!r} in its name.")
    failed = sum(largest > TOLERANCE for _, largest, _ in rows)
    if missing:
        print(f"\nin the table and not compared: {', '.join(missing)}")
    print(
        f"\n{sum(row[0] for row in rows)} comparisons in {len(rows)} cases, {failed} over the "
        f"tolerance, largest difference {max(row[1] for row in rows):.1e}"
    )
    sys.exit(1 if failed or missing else 0)


if __name__ == "__main__":
    main()
