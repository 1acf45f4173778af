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
