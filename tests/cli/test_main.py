import importlib
import os
import subprocess
import sys
import tomllib
from pathlib import Path

import numpy as np
import pytest
from sklearn.naive_bayes import GaussianNB
from sklearn.tree import DecisionTreeClassifier

import cfe_stack
from cfe_stack.cli.main import main
from cfe_stack.datasets import DemoProblem

ROOT = Path(__file__).parents[2]


@pytest.fixture
def small_demo(monkeypatch):
    """Two small problems and two quick learners in the place of the real ones."""
    rng = np.random.default_rng(0)
    X = rng.normal(size=(120, 4))
    two, three = (X[:, 0] > 0).astype(int), np.digitize(X[:, 1], [-0.5, 0.5])
    problems = (DemoProblem("halves", X, two, "made"), DemoProblem("thirds", X, three, "made"))
    learners = [("bayes", GaussianNB()), ("tree", DecisionTreeClassifier(max_depth=2))]
    monkeypatch.setattr("cfe_stack.cli.main.load_demo_problems", lambda: problems)
    monkeypatch.setattr("cfe_stack.demo.demo_learners", lambda random_state: learners)
    return problems


def run_module(*arguments, path=""):
    environment = os.environ | {"PYTHONPATH": f"{path}{os.pathsep}{ROOT}"}
    return subprocess.run(
        [sys.executable, "-m", "cfe_stack", *arguments],
        capture_output=True,
        text=True,
        env=environment,
        check=False,
    )


def test_demo_prints_the_table_on_stdout_and_nothing_on_stderr(small_demo, capsys):
    assert main(["demo", "--n-jobs", "1"]) == 0
    out, err = capsys.readouterr()
    assert err == ""
    for title in ("halves (made)", "thirds (made)"):
        block = out[out.index(title) :].split("\n\n")[0]
        rows = {line[:20].strip() for line in block.splitlines()[1:]}
        assert rows == {"CF-Ensemble", "logistic stacking", "average", "best single learner"[:18]}
    assert "lower is better" in out


@pytest.mark.parametrize("switch", ["--no-progress", "--quiet"])
def test_options_reach_the_demo(monkeypatch, capsys, switch):
    seen = {}

    def run_demo(problems, **options):
        seen.update(options)
        return []

    monkeypatch.setattr("cfe_stack.cli.main.run_demo", run_demo)
    monkeypatch.setattr("cfe_stack.cli.main.format_demo_scores", lambda scores, problems: "")
    assert main(["demo"]) == 0
    assert seen == {"random_state": 0, "n_jobs": -1, "progress": True}
    assert main(["demo", "--seed", "4", "--n-jobs", "3", switch]) == 0
    assert seen == {"random_state": 4, "n_jobs": 3, "progress": False}


@pytest.mark.exhaustive
def test_the_seed_decides_the_table(small_demo, monkeypatch, capsys):
    monkeypatch.setattr("cfe_stack.cli.main.load_demo_problems", lambda: small_demo[:1])
    tables = []
    for seed in ("1", "1", "2"):
        main(["demo", "--seed", seed, "--n-jobs", "1"])
        tables.append(capsys.readouterr().out)
    assert tables[0] == tables[1] != tables[2]


@pytest.mark.parametrize("package", ["xgboost", "lightgbm"])
def test_a_missing_extra_is_one_sentence_and_exit_code_2(monkeypatch, capsys, package):
    for installed in ("xgboost", "lightgbm"):
        pytest.importorskip(installed)
    monkeypatch.setitem(sys.modules, package, None)
    assert main(["demo"]) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert err == (
        f"cfe-stack: {package} is not installed: "
        'run `python -m pip install "cfe-stack[boosting]"`.\n'
    )


def test_a_missing_extra_in_a_process_of_its_own(tmp_path):
    pytest.importorskip("xgboost")
    (tmp_path / "lightgbm.py").write_text("raise ModuleNotFoundError(name='lightgbm')")
    run = run_module("demo", path=tmp_path)
    assert run.returncode == 2
    assert run.stdout == ""
    assert run.stderr.startswith("cfe-stack: lightgbm is not installed")
    assert len(run.stderr.splitlines()) == 1


def test_an_interruption_leaves_no_traceback(monkeypatch, capsys):
    def interrupt(*args, **options):
        raise KeyboardInterrupt

    monkeypatch.setattr("cfe_stack.cli.main.run_demo", interrupt)
    assert main(["demo"]) == 130
    assert capsys.readouterr() == ("", "cfe-stack: interrupted\n")


def test_a_bug_is_not_disguised(monkeypatch):
    def fail(*args, **options):
        raise ImportError("a bug of ours")

    monkeypatch.setattr("cfe_stack.cli.main.run_demo", fail)
    with pytest.raises(ImportError, match="a bug of ours"):
        main(["demo"])


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "required: COMMAND"),
        (["dmeo"], "invalid choice: 'dmeo'"),
        (["demo", "--seed", "-1"], "'-1' is not an integer from 0 to 2**32 - 1"),
        (["demo", "--seed", "one"], "'one' is not an integer"),
        (["demo", "--seed", str(2**32)], "is not an integer from 0 to 2**32 - 1"),
        (["demo", "--n-jobs", "0"], "'0' is neither a positive integer nor -1"),
        (["demo", "--n-jobs", "-2"], "'-2' is neither a positive integer nor -1"),
        (["demo", "--sede", "1"], "unrecognized arguments: --sede 1"),
    ],
)
def test_wrong_arguments_are_named_and_exit_with_2(capsys, arguments, message):
    with pytest.raises(SystemExit) as stop:
        main(arguments)
    out, err = capsys.readouterr()
    assert stop.value.code == 2
    assert out == ""
    assert message in err


@pytest.mark.parametrize("arguments", [["--help"], ["demo", "--help"]])
def test_help_teaches(capsys, arguments):
    with pytest.raises(SystemExit) as stop:
        main(arguments)
    assert stop.value.code == 0
    out = capsys.readouterr().out
    assert "example" in out
    assert max(len(line) for line in out.splitlines()) <= 100


@pytest.mark.exhaustive
def test_python_m_runs_the_same_program():
    run = run_module("--version")
    assert (run.returncode, run.stderr) == (0, "")
    assert run.stdout == f"cfe-stack {cfe_stack.__version__}\n"
    assert run_module("demo", "--n-jobs", "none").returncode == 2


def test_the_console_script_is_this_program():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
    module, function = project["scripts"]["cfe-stack"].split(":")
    assert getattr(importlib.import_module(module), function) is main
