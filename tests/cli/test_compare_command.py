import csv

import numpy as np
import pytest

from cfe_stack import EnsembleData
from cfe_stack.cli.main import main
from cfe_stack.datasets import make_ensemble
from cfe_stack.prediction_files.files import write_predictions


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


@pytest.fixture
def predictions(tmp_path):
    """Write a folder of predictions with labels in a file of their own."""
    pytest.importorskip("pandas")
    made = make_ensemble(4, 300, missing_rate=0.1, random_state=0)
    ids = np.arange(500, 800)
    write_predictions(
        EnsembleData(made.R, instance_ids=ids), tmp_path / "oof", id_column="customer"
    )
    lines = [f"{i},{label}" for i, label in zip(ids, made.labels, strict=True)]
    (tmp_path / "train.csv").write_text("\n".join(["customer,sold", *reversed(lines)]))
    oof, target = str(tmp_path / "oof"), f"{tmp_path / 'train.csv'}:sold"
    return ["compare", "--oof", oof, "--target", target, "--id", "customer"]


def test_a_folder_of_predictions_is_compared_on_folds_of_the_seed(predictions, capsys):
    tables = []
    for seed in ("0", "0", "1"):
        assert main([*predictions, *QUICK, "--seed", seed]) == 0
        out, err = capsys.readouterr()
        assert err.startswith(
            "cfe-stack: EnsembleData(4 classifiers, 300 instances, 2 classes; 300"
        )
        assert len(err.splitlines()) == 1
        tables.append([line.split()[:-1] for line in out.splitlines()])  # without seconds
    assert tables[0] == tables[1] != tables[2]


def test_columns_that_look_in_sample_are_refused_until_allowed(predictions, tmp_path, capsys):
    lines = (tmp_path / "train.csv").read_text().splitlines()[1:]
    rows = [(line.split(",")[0], 0.001 + 0.998 * int(line.split(",")[1])) for line in lines]
    leak = "\n".join(["customer,p", *(f"{i},{p}" for i, p in rows)])
    (tmp_path / "oof" / "leak.csv").write_text(leak)
    assert main([*predictions, *QUICK]) == 1
    out, err = capsys.readouterr()
    assert out == ""
    assert (
        "In-sample predictions suspected in 1 of 5 models, for rows that they were trained on"
        in err
    )
    assert "--allow-suspicious" in err
    assert main([*predictions, *QUICK, "--allow-suspicious"]) == 0


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (["--metric", "auc"], 2, "'auc' is unknown"),
        (["--n-jobs", "0"], 2, "'0' is neither a positive integer nor -1"),
        (["--reference", "median"], 2, "'median' is not a contender; those are mean, best single"),
        (["--oof", "oof"], 2, "set0.npz and --oof are two kinds of input"),
        (["--html", "nowhere/page.html"], 1, "nowhere/page.html: there is no folder nowhere"),
    ],
)
def test_what_is_wrong_is_named_before_the_work_starts(
    folder, monkeypatch, capsys, arguments, code, message
):
    monkeypatch.setattr("cfe_stack.cli.compare.compare_ensembles", None)
    try:
        found = main(["compare", str(folder / "set0.npz"), *QUICK, *arguments])
    except SystemExit as stop:  # argparse's own
        found = stop.code
    out, err = capsys.readouterr()
    assert (found, out) == (code, "")
    assert message in err
    assert "Traceback" not in err


@pytest.mark.parametrize("given", [[], ["--oof", "oof"], ["--target", "train.csv:sold"]])
def test_input_is_asked_for(given, capsys):
    assert main(["compare", *given]) == 2
    assert "give --oof DIR and --target FILE:COLUMN, or folders" in capsys.readouterr().err


def test_mistakes_in_files_are_one_line_and_exit_code_1(predictions, tmp_path, capsys):
    (tmp_path / "empty").mkdir()
    assert main(["compare", str(tmp_path / "empty")]) == 1
    err = capsys.readouterr().err
    assert f"{tmp_path / 'empty'} holds no NAME.npz" in err
    assert "`cfe-stack compare --oof DIR --target FILE:COLUMN`" in err
    file = sorted((tmp_path / "oof").iterdir())[0]
    file.write_text("customer,p\n500,1.5\n")
    assert main([*predictions, *QUICK]) == 1
    out, err = capsys.readouterr()
    assert (out, len(err.splitlines())) == ("", 1)
    assert err.startswith(f"cfe-stack: {file}")
    assert "row 1 (customer 500), column 'p' holds 1.5" in err


def test_help_teaches(capsys):
    with pytest.raises(SystemExit) as stop:
        main(["compare", "--help"])
    assert stop.value.code == 0
    out = capsys.readouterr().out
    for part in ("examples:", "CF-Ensemble", "oof0", "FILE:COLUMN", "exit codes"):
        assert part in out
    assert max(len(line) for line in out.splitlines()) <= 100
