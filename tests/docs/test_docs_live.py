"""The live parts of the site in a real browser: "Draw a digit" and the cells "Try it"."""

import re

import numpy as np
import pytest
from conftest import ROOT

import nn

pytestmark = pytest.mark.slow

SEVEN = [(0.3, 0.25), (0.5, 0.25), (0.7, 0.25), (0.6, 0.45), (0.5, 0.65), (0.45, 0.85)]
MOONS, DIGITS, GRADIENT = range(3)  # the cells of the page


def test_a_digit_drawn_on_the_first_page_is_predicted_as_by_nn(browser, address, needs):
    needs("ONNXRUNTIME_WEB")
    browser.open(address)
    browser.click(".nn-draw button")
    browser.wait("return !!document.querySelector('iframe')?.contentWindow.settled")
    inside = "const page = document.querySelector('iframe').contentWindow; return "
    browser.wait(inside + "page.settled() && !page.document.getElementById('main').hidden")
    browser.run("document.querySelector('iframe').scrollIntoView()")
    frame, sheet = browser.run(
        "const frame = document.querySelector('iframe');"
        "const sheet = frame.contentDocument.getElementById('sheet');"
        "return [frame, sheet].map(each => each.getBoundingClientRect().toJSON())"
    )
    left, top = frame["x"] + sheet["x"], frame["y"] + sheet["y"]
    browser.draw([(left + x * sheet["width"], top + y * sheet["height"]) for x, y in SEVEN])
    result = browser.wait(inside + "page.settled() && page.lastResult")
    seen = np.array(result["input"], np.float32).reshape(1, 1, 28, 28)
    model = nn.Model.load(ROOT / "docs" / "live" / "digits.onnx")
    expected = model.predict_proba(seen)[0]
    np.testing.assert_allclose(result["probabilities"], expected, atol=1e-5)
    assert expected.argmax() == 7


@pytest.fixture
def cells(browser, address, needs):
    """The page with the cells, and functions that run and edit one."""
    needs("PYODIDE")
    browser.open(f"{address}try.html")

    class Cells:
        def code(self, cell):
            return browser.run("return window.nnCells[arguments[0]].code", cell)

        def edit(self, cell, old, new):
            """Replace text in the editor of a cell, as a reader would type it."""
            browser.run("window.nnCells[arguments[0]].editButton.click()", cell)
            code = self.code(cell)
            assert old in code
            browser.run(
                "window.nnCells[arguments[0]].editor.value = arguments[1]",
                cell,
                code.replace(old, new),
            )

        def run(self, cell):
            """Run a cell; return whether it ended well, what it printed and its epochs."""
            browser.run(
                "const cell = window.nnCells[arguments[0]];"
                "delete cell.place.dataset.ended; cell.runButton.click();",
                cell,
            )
            ended = browser.wait(
                "return window.nnCells[arguments[0]].place.dataset.ended", cell, seconds=240
            )
            log, epochs = browser.run(
                "const cell = window.nnCells[arguments[0]];"
                "return [cell.log.textContent, cell.epochs]",
                cell,
            )
            return ended == "true", log, epochs

    return Cells()


def accuracy(log):
    return float(re.search(r"'acc': ([\d.]+)", log)[1])


def test_nothing_is_loaded_before_a_click(browser, cells):
    assert len(browser.run("return window.nnCells")) == 3
    names = browser.run("return performance.getEntriesByType('resource').map(e => e.name)")
    assert not any("worker.js" in name or name.endswith((".zip", ".wasm")) for name in names)


def test_the_cells_train_to_the_accuracy_that_the_page_says(browser, cells):
    fine, log, epochs = cells.run(MOONS)
    assert fine, log
    assert accuracy(log) == pytest.approx(0.97, abs=0.006)
    assert len(epochs) == 40 and epochs[-1]["loss"] < epochs[0]["loss"] / 3
    # The boundary is drawn: both colours are there.
    colours = browser.run(
        "const canvas = window.nnCells[0].canvas; const { data } = canvas.getContext('2d')"
        ".getImageData(0, 0, canvas.width, canvas.height); let [blue, red] = [0, 0];"
        "for (let i = 0; i < data.length; i += 4) {"
        "  if (data[i] > data[i + 2] + 40) red++; if (data[i + 2] > data[i] + 40) blue++; }"
        "return [red, blue].map(count => count / (data.length / 4))"
    )
    assert min(colours) > 0.2
    fine, log, epochs = cells.run(DIGITS)
    assert fine and accuracy(log) > 0.9 and len(epochs) == 6
    assert browser.run("return !window.nnCells[1].canvas.hidden")


def test_an_edited_cell_runs_its_edited_code(cells):
    cells.edit(MOONS, "epochs=40", "epochs=3")
    fine, log, epochs = cells.run(MOONS)
    assert fine and len(epochs) == 3 and accuracy(log) < 0.97
    fine, log, _ = cells.run(GRADIENT)
    assert fine and "a is wrong" in log and "x agrees" in log
    cells.edit(GRADIENT, ".mean(axis=0)", ".sum(axis=0)")
    fine, log, _ = cells.run(GRADIENT)
    assert fine and "wrong" not in log and "a agrees" in log


def test_an_error_is_shown_with_its_line_and_the_next_run_works(cells):
    cells.edit(MOONS, "model.compile(", "model.compille(")
    fine, log, _ = cells.run(MOONS)
    assert not fine
    assert "compille" in log and 'File "cell", line 9' in log and "watch.py" not in log
    cells.edit(MOONS, "epochs=40", "epochs=1")
    assert cells.run(MOONS)[0]


def test_a_cell_can_be_stopped(browser, cells):
    cells.edit(MOONS, "epochs=40", "epochs=100000")
    browser.run("window.nnCells[0].runButton.click()")
    browser.wait("return window.nnCells[0].epochs.length > 2", seconds=120)
    browser.run("window.nnCells[0].stopButton.click()")
    assert browser.run("return window.nnCells[0].status.textContent") == "Stopped."
    cells.edit(MOONS, "epochs=40", "epochs=1")
    assert cells.run(MOONS)[0]
