"""The registry that every table of names is, and the other libraries' names in it."""

import importlib

import pytest

import nn
from nn import compat
from nn.registry import Registry

TABLES = [
    nn.initializers.NAME2INITIALIZER,
    nn.losses.NAME2LOSS,
    nn.metrics.NAME2METRIC,
    nn.optim.NAME2OPTIMIZER,
    nn.regularizers.NAME2REGULARIZER,
]


@pytest.mark.parametrize("table", TABLES, ids=lambda table: table.argument)
def test_tables_are_dictionaries_whose_errors_name_the_nearest(table):
    assert isinstance(table, Registry)
    for name, entry in table.items():
        assert table[name] is table.find(name) is entry
        with pytest.raises(ValueError, match=f"{table.owner}.*{table.argument}.*{name}"):
            table.find(name + "q")


def test_names_are_found_in_any_case_and_as_they_are_written():
    table = Registry("Shop", "fruit", {"apple": 1, "Kiwi": 2}, aliases={"pomme": "apple"})
    assert [table.find(name) for name in ("apple", "APPLE", "Pomme", "Kiwi")] == [1, 1, 1, 2]
    with pytest.raises(ValueError, match=r"^\[Shop\] 'fruit' .*'Kiwi'.*'kiwi'"):
        table.find("kiwi")
    with pytest.raises(ValueError, match=r"^\[Market\] 'basket' .*got 3"):
        table.find(3, "Market", "basket")


def test_classes_are_found_by_their_own_name_and_by_the_registered_one():
    class Pear:
        pass

    table = Registry("Shop", "fruit", {"pear": Pear})
    assert table.find_class({"class": "Pear", "config": {}}) is Pear
    assert table.find_class({"class": "pear", "config": {}}) is Pear
    assert table.knows(Pear)
    assert not table.knows(type("Pear", (), {}))  # another class of the same name
    with pytest.raises(ValueError, match=r"^\[Shop\] 'class' .*'Plum'"):
        table.find_class({"class": "Plum"})
    for config in ("Pear", {"config": {}}, None):
        with pytest.raises(ValueError, match=r"^\[Shop\] 'config' "):
            table.find_class(config)


def test_arguments_have_one_name_at_a_time():
    aliases = {"learning_rate": "lr"}
    assert compat.renamed("SGD", {"learning_rate": 1, "b": 2}, aliases) == {"lr": 1, "b": 2}
    with pytest.raises(ValueError, match=r"^\[SGD\] 'learning_rate' .*'lr'.*got 1"):
        compat.renamed("SGD", {"learning_rate": 1, "lr": 2}, aliases)


@pytest.mark.parametrize("alias", compat.MODULES)
def test_modules_have_their_other_names(alias):
    module = importlib.import_module(alias)
    assert module is importlib.import_module(compat.MODULES[alias])
    assert getattr(nn, alias.removeprefix("nn.")) is module
