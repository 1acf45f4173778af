"""Compare every gradient of a model with the measured slope of its loss."""

import argparse
from dataclasses import asdict

from .. import zoo
from ..inspect.gradcheck import check_model
from ..model import Model
from .result import Result, add_file, add_number


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options of this command."""
    add_file(parser, nargs="?", note=" (default: LeNet-5)")
    add_number(parser, "--entries", 20, "elements to check of each array")
    add_number(parser, "--tolerance", 1e-5, "relative error above which a gradient is wrong")


def run(options: argparse.Namespace) -> Result:
    """Return the table of the check; it is not ok if a gradient is wrong."""
    if options.file is None:
        model = zoo.lenet5(seed=0)
        model.compile("cce")
    else:
        model = Model.load(options.file)
    check = check_model(model, entries=options.entries, tolerance=options.tolerance)
    data = {
        "model": model.name if options.file is None else options.file,
        "ok": check.ok,
        "tolerance": check.tolerance,
        "suspect": check.suspect,
        "rows": [asdict(row) for row in check.rows],
    }
    return Result(str(check), data, check.ok)
