"""Columns of tables: those of the training, in their order."""

import numpy as np
import pytest

import nn

pandas = pytest.importorskip("pandas")

rng = np.random.default_rng(0)
table = pandas.DataFrame({"age": rng.normal(size=30), "height": rng.normal(size=30)})
swapped = table[["height", "age"]]
y = np.arange(30) % 2


def trained(x=table, labels=y):
    model = nn.Model([nn.Dense(2)], seed=0)
    model.compile("cce", "sgd")
    model.fit(x, labels, verbose=0)
    return model


USES = {
    "fit": lambda model, x: model.fit(x, y, verbose=0),
    "val_data": lambda model, x: model.fit(table, y, val_data=(x, y), verbose=0),
    "evaluate": lambda model, x: model.evaluate(x, y),
    "predict": lambda model, x: model.predict(x),
    "predict_classes": lambda model, x: model.predict_classes(x),
    "predict_proba": lambda model, x: model.predict_proba(x),
}


@pytest.mark.parametrize("use", USES)
def test_columns_in_another_order_are_refused(use):
    model = trained()
    argument = {"fit": "data", "evaluate": "data", "val_data": "val_data"}.get(use, "x")
    rule = rf"\[Model\] '{argument}' must have the columns of the training in their order"
    with pytest.raises(ValueError, match=rule):
        USES[use](model, swapped)
    USES[use](model, table)
    USES[use](model, swapped[model.feature_names])
    USES[use](model, table.to_numpy())
    renamed = swapped.rename(columns={"age": "years"})
    if use == "fit":  # another training
        USES[use](model, renamed)
    else:
        with pytest.raises(ValueError, match=rule):
            USES[use](model, renamed)


def test_labels_that_are_texts_change_nothing_of_it():
    model = trained(labels=np.array(["no", "yes"])[y])
    with pytest.raises(ValueError, match=r"'data' must have the columns of the training"):
        model.evaluate(swapped, np.array(["no", "yes"])[y])


@pytest.mark.parametrize("suffix", ["hdf5", "npz", "safetensors"])
def test_a_model_from_a_file_knows_its_columns(tmp_path, suffix):
    path = tmp_path / f"model.{suffix}"
    trained().save(path)
    weights = nn.Model([nn.Dense(2, input_shape=(2,))])
    weights.load_weights(path)
    for model in (nn.Model.load(path), weights):
        assert model.feature_names == ["age", "height"]
        with pytest.raises(ValueError, match=r"'x' must have the columns of the training"):
            model.predict(swapped)


def test_columns_without_names_are_not_remembered():
    model = trained(pandas.DataFrame(table.to_numpy()))
    assert model.feature_names is None
    model.predict(swapped)


def test_a_data_set_of_a_table_keeps_its_columns():
    data = nn.Dataset(table, y)
    train, test = data.split(0.2)
    assert data.feature_names == train.feature_names == test.feature_names == ["age", "height"]
    model = trained(train, None)
    with pytest.raises(ValueError, match=r"'x' must have the columns of the training"):
        model.predict(nn.Dataset(swapped))
    with pytest.raises(ValueError, match=r"'val_data' must have the columns of the training"):
        model.fit(train, val_data=nn.Dataset(swapped, y), verbose=0)


# ------------------------------------------------------------------------ tables in batches


def batches(*tables, with_targets=True):
    return lambda: ((x, y) if with_targets else x for x in tables)


IN_BATCHES = {
    "val_data": lambda model, x: model.fit(batches(table), val_data=batches(table, x), verbose=0),
    "val_data of rows": lambda model, x: model.fit(batches(table), val_data=(x, y), verbose=0),
    "fit": lambda model, x: model.fit(batches(table, x), verbose=0),
    "fit again": lambda model, x: model.fit(batches(x), verbose=0),
    "evaluate": lambda model, x: model.evaluate(batches(table, x)),
    "predict": lambda model, x: model.predict(batches(table, x, with_targets=False)),
    "a generator": lambda model, x: model.predict(batches(x, with_targets=False)()),
}


@pytest.mark.parametrize("first", ["rows", "batches"])
@pytest.mark.parametrize("use", IN_BATCHES)
def test_every_batch_that_is_a_table_has_the_columns_of_the_training(use, first):
    model = trained() if first == "rows" else trained(batches(table), None)
    assert model.feature_names == ["age", "height"]
    with pytest.raises(ValueError, match=r"must have the columns of the training in their order"):
        IN_BATCHES[use](model, swapped)
    IN_BATCHES[use](model, table)
    IN_BATCHES[use](model, table.to_numpy())


def test_batches_with_other_columns_are_another_training():
    model = trained()
    model.fit(batches(table.rename(columns={"age": "years"})), verbose=0)
    assert model.feature_names == ["years", "height"]


# ------------------------------------------------------------------------ tables of targets

targets = pandas.DataFrame({"no": 1.0 - y, "yes": y * 1.0})
turned = targets[["yes", "no"]]

WITH_TARGETS = {
    "fit": lambda model, y: model.fit(table, y, verbose=0),
    "val_data": lambda model, y: model.fit(table, targets, val_data=(table, y), verbose=0),
    "validation set": lambda model, y: model.fit(
        table, targets, val_data=nn.data.Dataset(table, y), verbose=0
    ),
    "evaluate": lambda model, y: model.evaluate(table, y),
    "a data set": lambda model, y: model.evaluate(nn.data.Dataset(table, y)),
    "batches": lambda model, y: model.evaluate(iter([(table, targets), (table, y)])),
    "batches to train on": lambda model, y: model.fit(
        iter([(table, targets), (table, y)]), verbose=0
    ),
}


@pytest.mark.parametrize("use", WITH_TARGETS)
def test_columns_of_targets_in_another_order_are_refused(use):
    """They were compared with other outputs, without a word."""
    model = trained(labels=targets)
    assert model.target_names == ["no", "yes"]
    rule = r"'(y|val_data)' must have the columns of the training in their order, 'no' at 0"
    with pytest.raises(ValueError, match=rule + r".*table\[model.target_names\]"):
        WITH_TARGETS[use](model, turned)
    WITH_TARGETS[use](model, turned[model.target_names])
    WITH_TARGETS[use](model, targets.to_numpy())
    others = targets.rename(columns={"no": "perhaps"})
    if use == "fit":  # another training
        WITH_TARGETS[use](model, others)
        assert model.target_names == ["perhaps", "yes"]
    else:
        with pytest.raises(ValueError, match=rule):
            WITH_TARGETS[use](model, others)


@pytest.mark.parametrize("suffix", ["hdf5", "npz", "safetensors"])
def test_a_model_from_a_file_knows_the_columns_of_its_targets(tmp_path, suffix):
    path = tmp_path / f"model.{suffix}"
    trained(labels=targets).save(path)
    model = nn.Model.load(path)
    assert model.target_names == ["no", "yes"]
    with pytest.raises(ValueError, match="'y' must have the columns"):
        model.evaluate(table, turned)
    resumed = trained(labels=targets.to_numpy())
    assert resumed.target_names is None
    resumed.fit(table, targets.to_numpy(), epochs=2, resume=path, verbose=0)
    assert resumed.target_names == ["no", "yes"]


def test_one_column_of_targets_may_have_any_name():
    model = nn.Model([nn.Dense(1)], seed=0)
    model.compile("bce", "sgd")
    model.fit(table, pandas.DataFrame({"label": y}), verbose=0)
    assert model.target_names is None
    model.evaluate(table, pandas.DataFrame({"y": y}))
    part, _ = nn.data.Dataset(table, targets).split(0.5)
    assert part.target_names == ["no", "yes"]
