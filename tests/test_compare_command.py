import csv

import numpy as np
import pytest

from cfe_stack.cli import main
from cfe_stack.datasets import make_ensemble


@pytest.fixture
def folder(tmp_path):
    for seed in range(2):
        made = make_ensemble(4, 90, random_state=seed)
        arrays = {"n_classes": 2}
        for fold in range(2):
            test = np.arange(90) % 2 == fold
            arrays |= {f"oof{fold}": made.R.T[~test], f"ytr{fold}": made.labels[~test]}
            arrays |= {f"test{fold}": made.R.T[test], f"yte{fold}": made.labels[test]}
        np.savez(tmp_path / f"set{seed}.npz", **arrays)
    return tmp_path


QUICK = ["--contenders", "mean", "best single", "--n-jobs", "1"]


def test_the_table_is_on_stdout_and_files_are_written(folder, capsys):
    page, table = folder / "page.html", folder / "table.csv"
    arguments = ["compare", str(folder), *QUICK, "--html", str(page), "--csv", str(table)]
    assert main(arguments) == 0
    out, err = capsys.readouterr()
    assert err == ""
    assert "best mean rank" in out
    assert out.index("log_loss") < out.index("roc_auc")
    assert page.read_text("utf-8").startswith("<!doctype html>")
    with table.open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == 2 * 2 * 2 * 5
    assert {row["data_set"] for row in rows} == {"set0", "set1"}


def test_files_metric_reference_and_memory(folder, capsys):
    files = [str(folder / "set1.npz"), str(folder / "set0.npz")]
    options = ["--metric", "roc_auc", "--reference", "best single", "--memory", str(folder / "m")]
    assert main(["compare", *files, *QUICK, *options]) == 0
    first = capsys.readouterr().out
    assert "By roc_auc on 2 data sets" in first
    assert "best single, the reference" in first or "best single has the best" in first
    assert len(list((folder / "m").rglob("*.npz"))) == 8
    assert main(["compare", *files, *QUICK, *options]) == 0
    assert capsys.readouterr().out == first  # seconds too: nothing was run again


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--metric", "auc"], "'auc' is unknown"),
        (["--reference", "median"], "'median' is no contender"),
        (["--html", "nowhere/page.html"], "No such file"),
    ],
)
def test_what_is_wrong_is_one_line_and_exit_code_2(folder, capsys, arguments, message):
    assert main(["compare", str(folder), *QUICK, *arguments]) == 2
    err = capsys.readouterr().err
    assert message in err
    assert len(err.splitlines()) == 1


def test_an_empty_folder_is_named(tmp_path, capsys):
    assert main(["compare", str(tmp_path)]) == 2
    err = capsys.readouterr().err
    assert f"{tmp_path} holds no NAME.npz" in err
    assert "one file for each model are read by `cfe-stack blend`" in err


def test_help_teaches(capsys):
    with pytest.raises(SystemExit) as stop:
        main(["compare", "--help"])
    assert stop.value.code == 0
    out = capsys.readouterr().out
    for part in ("examples:", "CF-Ensemble", "oof0", "exit codes"):
        assert part in out
    assert max(len(line) for line in out.splitlines()) <= 100
