"""Train a network on CIFAR-10, colour images of animals and vehicles in ten classes.

    python examples/cifar10_train.py
    python examples/cifar10_train.py --model resnet20 --data-dir path/to/cifar10
    python examples/cifar10_train.py --model cifar --optimizer adamw --epochs 30 --augment
    python examples/cifar10_train.py --model airbench --target 94 --seeds 5

Each network has a training recipe, parts of which can be changed by options. A tenth of the
training images is held out for validation, and the weights of the best epoch are saved in `--out`.
The test images are used once, at the end. After each epoch the state of training is saved in a
second file, `..._last.hdf5`: with `--resume` and otherwise the same options, training continues
with the same result as without interruption. Several processes share the work with `--distributed`:

    mpiexec -n 4 python examples/cifar10_train.py --distributed

`--model airbench` is another recipe, in `airbench_muon.py`: all training images, smaller ones in
the first epochs, few epochs with a high learning rate, and the weights of the last step.
`--target 90` is a shorter training. It prints the test accuracy without and with the average over
mirrored and shifted copies of each test image, the time of each part of the training, and, with
`--seeds`, mean and spread over several seeds. `--log` appends the results to a file.
`--optimizer sgd` is the paper's recipe, in `airbench.py`; `--without lookahead`, or another part,
trains without it.
"""

import argparse
import time
from pathlib import Path

import airbench
import airbench_muon
import fast_training
import numpy as np
from report import check_place, print_class_accuracies, print_confusions, save_curves

import nn
from nn.callbacks import ModelCheckpoint
from nn.data import load_cifar10
from nn.data.augment import Compose, RandomCrop, RandomFlip

MODELS = {"cifar": nn.zoo.cifar_cnn, "vgg6": nn.zoo.vgg6, "resnet20": nn.zoo.resnet20}
RECIPES = {
    "cifar": {
        "epochs": 12,
        "batch_size": 64,
        "optimizer": "sgd",
        "lr": 0.03,
        "schedule": "one_cycle",
        "weight_decay": 0.0,
        "augment": False,
    },
    "vgg6": {
        "epochs": 12,
        "batch_size": 64,
        "optimizer": "sgd",
        "lr": 0.05,
        "schedule": "one_cycle",
        "weight_decay": 5e-4,
        "augment": True,
    },
    "resnet20": {
        "epochs": 12,
        "batch_size": 128,
        "optimizer": "sgd",
        "lr": 0.2,
        "schedule": "one_cycle",
        "weight_decay": 5e-4,
        "augment": True,
    },
}
MOMENTUM = {"sgd": {"momentum": 0.9, "nesterov": True}}  # other arguments of an optimizer
AUGMENT = Compose([RandomFlip(), RandomCrop(32, padding=4)])
VALIDATION_SHARE = 0.1


def parse_arguments(arguments=None):
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data-dir", default="cifar10_dataset", help="folder of CIFAR-10")
    parser.add_argument("--no-download", action="store_true", help="use only existing files")
    parser.add_argument("--model", choices=[*RECIPES, "airbench"], default="vgg6")
    parser.add_argument(
        "--target",
        type=int,
        choices=airbench.EPOCHS,
        default=94,
        help="accuracy of airbench, in %%",
    )
    parser.add_argument("--seeds", type=int, default=1, help="number of trainings of airbench")
    parser.add_argument(
        "--without",
        nargs="+",
        choices=airbench.INGREDIENTS,
        default=[],
        metavar="PART",
        help="train airbench --optimizer sgd without parts of its recipe: %(choices)s",
    )
    parser.add_argument("--out", default="cifar10_model.hdf5", help="file for the best model")
    parser.add_argument("--log", metavar="FILE", help="append the results as a line of JSON")
    parser.add_argument("--resume", metavar="FILE", help="continue from a '..._last' file")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument(
        "--distributed", action="store_true", help="train in the processes that mpiexec starts"
    )
    recipe = parser.add_argument_group("changes to the recipe")
    recipe.add_argument(
        "--epochs", type=number, help="total number, including resumed epochs; 12 with airbench"
    )
    recipe.add_argument("--batch-size", type=int)
    recipe.add_argument("--optimizer", choices=["sgd", "rmsprop", "adam", "adamw", "nadam", "muon"])
    recipe.add_argument("--lr", type=float, help="maximum learning rate")
    recipe.add_argument(
        "--schedule", choices=["constant", "plateau", "exponential", "cosine", "one_cycle"]
    )
    recipe.add_argument("--weight-decay", type=float)
    recipe.add_argument(
        "--augment", action=argparse.BooleanOptionalAction, help="flip and shift the images"
    )
    options = parser.parse_args(arguments)
    is_fast = options.model == "airbench"
    for name in ("schedule", "augment") if is_fast else ():
        if getattr(options, name) is not None:
            parser.error(f"--{name} is fixed in the recipe of airbench")
    if is_fast and options.optimizer not in (None, "muon", "sgd"):
        parser.error("--optimizer of airbench is muon, the default, or sgd")
    is_muon = is_fast and options.optimizer != "sgd"
    if is_muon and (options.without or options.weight_decay is not None):
        parser.error("--without and --weight-decay of airbench need --optimizer sgd")
    if not is_fast and (options.seeds != 1 or options.without or isinstance(options.epochs, float)):
        parser.error("--seeds, --without, and parts of epochs, need --model airbench")
    return options


def number(text):
    """Return an argument as an int, or as a float if it is none."""
    return int(text) if text.isdecimal() else float(text)


def choose_recipe(options):
    """Return the recipe of the model, changed by the given options."""
    recipe = dict(RECIPES[options.model])
    if options.optimizer not in (None, recipe["optimizer"]):
        recipe["lr"] = None  # the default of the other optimizer
    for name in recipe:
        if getattr(options, name) is not None:
            recipe[name] = getattr(options, name)
    return recipe


def find_team(options):
    """Return the processes that train together; None without --distributed."""
    if not options.distributed:
        return None
    return nn.distributed.NCCL() if nn.cuda.USE_CUDA else nn.distributed.MPI()


def load_data(options, team=None):
    """Return the training, validation and test images."""
    if team is not None and team.rank > 0:
        team.gather("ready")  # once rank 0 has them, which may have to download them
    try:
        train, test = load_cifar10(options.data_dir, download=not options.no_download)
    except (OSError, ValueError) as error:
        raise SystemExit(str(error)) from error
    if team is not None and team.rank == 0:
        team.gather("ready")
    train, val = train.split(VALIDATION_SHARE, rng=np.random.default_rng(options.seed))
    return train, val, test


def compile_model(model, recipe, team=None):
    model.compile(
        loss="categorical_crossentropy",
        optimizer=recipe["optimizer"],
        lr=recipe["lr"],
        weight_decay=recipe["weight_decay"],
        distributed=team,
        **MOMENTUM.get(recipe["optimizer"], {}),
    )
    return model


def fit(model, train, val, recipe, best, last, resume):
    """Train the model; return the history, the duration, and the clock with its parts."""
    clock = fast_training.Clock()
    started = time.perf_counter()
    history = model.fit(
        train,
        validation_data=val,
        epochs=recipe["epochs"],
        batch_size=recipe["batch_size"],
        lr_schedule=None if recipe["schedule"] == "constant" else recipe["schedule"],
        augment=AUGMENT if recipe["augment"] else None,
        callbacks=[
            clock,
            ModelCheckpoint(best),
            ModelCheckpoint(last, save_best_only=False, save_state=True),
        ],
        resume=resume,
    )
    return history, time.perf_counter() - started, clock


def main(arguments=None):
    started = time.perf_counter()
    options = parse_arguments(arguments)
    if options.model == "airbench":
        recipe = airbench if options.optimizer == "sgd" else airbench_muon
        return airbench.run(options, started, recipe.prepare)
    recipe = choose_recipe(options)
    best = Path(options.out)
    check_place(best)
    last = best.with_stem(f"{best.stem}_last")
    for path in (Path(options.resume), best) if options.resume else ():
        if not path.is_file():
            raise SystemExit(
                f"--resume needs its file and the file of --out: there is no '{path}'."
            )

    team = find_team(options)
    train, val, test = load_data(options, team)
    model = compile_model(MODELS[options.model](seed=options.seed), recipe, team)
    if model.is_first_rank:
        print(model.summary())
        print("Recipe:", ", ".join(f"{name} {value}" for name, value in recipe.items()))
        print(f"{len(train):,} images to train, {len(val):,} to validate, {len(test):,} to test")
    history, seconds, clock = fit(model, train, val, recipe, best, last, options.resume)
    if not model.is_first_rank:
        return 0  # rank 0 reports
    if not history:
        raise SystemExit("Stopped in the first epoch, without a model to test.")

    epoch = int(np.argmax(history["val_acc"]))
    print(f"Best epoch: {epoch + 1}, validation accuracy {history['val_acc'][epoch]:.2%}")
    model.load_weights(best)
    predicted = model.predict_classes(test)
    accuracy = float(np.mean(predicted == test.y))
    print(f"Test accuracy: {accuracy:.2%}")
    print_class_accuracies(test.y, predicted, test.class_names)
    print_confusions(test.y, predicted, test.class_names)
    save_curves(history, best.with_suffix(".png"))
    print(f"Best model: {best}; last epoch, for --resume: {last}")
    print(f"Training: {seconds:.0f} s, {clock.images / seconds:,.0f} images/s including validation")
    print(f"Total: {time.perf_counter() - started:.0f} s")
    facts = {"seed": options.seed, **recipe, "accuracy": accuracy}
    facts["validation_accuracy"] = history["val_acc"][epoch]
    facts |= fast_training.facts_of(history, clock, seconds)
    fast_training.write_log(options.log, facts, started)
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
