"""`cfe-stack blend`, as it is typed: files in, a submission out, mistakes in one line."""

import sys

import numpy as np
import pytest
from optional_packages import pandas as pd
from sklearn.metrics import log_loss

from cfe_stack.cli.main import main
from cfe_stack.datasets import make_ensemble

MODELS = ["alpha", "beta", "gamma", "delta"]


def write_folders(root, n_classes=2, classes=(0, 1), seed=0, n=300):
    """Write out-of-fold and test predictions of simulated models; return the test labels."""
    made = make_ensemble(4, n + 120, n_classes, missing_rate=0.1, random_state=seed)
    names = np.array(classes)
    ids = np.arange(1000, 1120 + n)
    for part, rows in (("oof", slice(0, n)), ("test", slice(n, None))):
        (root / part).mkdir()
        for name, R in zip(MODELS, made.R, strict=True):
            frame = pd.DataFrame({"id": ids[rows]})
            if n_classes == 2:
                frame["p"] = R[rows]
            else:
                for k, label in enumerate(classes):
                    frame[f"p_{label}"] = R[rows, k]
            # rows of another order, and without those that are missing
            frame = frame.dropna().sample(frac=1, random_state=1)
            frame.to_csv(root / part / f"{name}.csv", index=False)
    target = pd.DataFrame({"id": ids[:n], "size": 1.0, "sold": names[made.labels[:n]]})
    target.to_csv(root / "train.csv", index=False)
    return pd.Series(made.labels[n:], index=ids[n:])


def arguments(root, **changes):
    options = {
        "--oof": root / "oof",
        "--test": root / "test",
        "--target": f"{root / 'train.csv'}:sold",
        "--out": root / "submission.csv",
        "--n-jobs": 1,
    }
    options |= {f"--{name.replace('_', '-')}": value for name, value in changes.items()}
    given = [[name] if value is True else [name, str(value)] for name, value in options.items()]
    return ["blend", *(part for pair in given for part in pair)]


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    root = tmp_path_factory.mktemp("files")
    return root, write_folders(root)


def test_a_submission_is_written_and_the_scores_are_printed(files, capsys):
    root, truth = files
    assert main(arguments(root)) == 0
    out, err = capsys.readouterr()
    submission = pd.read_csv(root / "submission.csv")
    assert list(submission.columns) == ["id", "sold"]
    assert set(submission["id"]) == set(truth.index)
    loss = log_loss(truth[submission["id"]], submission["sold"])
    frames = [pd.read_csv(root / "test" / f"{name}.csv", index_col="id") for name in MODELS]
    mean = pd.concat(frames, axis=1).mean(axis=1)
    assert loss < log_loss(truth[mean.index], mean)
    table = out.splitlines()
    assert "log_loss" in table[0]
    assert {line.split("  ")[0] for line in table[1:6]} == {
        "CF-Ensemble", "mean", "best single", "greedy selection", "LogisticRegression",
    }  # fmt: skip
    scores = [float(line[20:].split()[0]) for line in table[1:6]]
    assert scores == sorted(scores)
    assert table[-1] == f"120 predictions are in {root / 'submission.csv'}."
    assert err.startswith("cfe-stack: 4 models, 2 classes; 300 rows with labels (")
    assert "120 rows to predict" in err


@pytest.mark.exhaustive
def test_the_same_files_give_the_same_result(files, capsys):
    root, _ = files
    texts = []
    for _ in range(2):
        main(arguments(root, seed=3))
        texts.append((root / "submission.csv").read_text())
    assert texts[0] == texts[1]


def test_a_report_is_written_and_named(files, capsys):
    pytest.importorskip("matplotlib")
    root, _ = files
    report = root / "report.html"
    assert main(arguments(root, report=report)) == 0
    out = capsys.readouterr().out
    assert out.splitlines()[-1] == f"The report is in {report}."
    # the table and the page hold the same figures
    (ours,) = (line for line in out.splitlines() if line.startswith("CF-Ensemble"))
    assert f"<td>{ours.split()[1]}</td>" in report.read_text("utf-8")


def test_a_report_without_matplotlib_is_refused_before_the_work(files, capsys, monkeypatch):
    root, _ = files
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    monkeypatch.setattr("cfe_stack.cli.blend.blend", None)
    assert main(arguments(root, report=root / "other.html")) == 2
    assert 'pip install "cfe-stack[plot]"' in capsys.readouterr().err
    assert not (root / "other.html").exists()


@pytest.mark.exhaustive
def test_several_classes_labels_and_another_metric(tmp_path, capsys):
    classes = ["low", "mid", "high"]
    truth = write_folders(tmp_path, 3, classes, seed=1, n=150)
    assert main(arguments(tmp_path, metric="accuracy")) == 0
    assert "accuracy" in capsys.readouterr().out
    submission = pd.read_csv(tmp_path / "submission.csv")
    # the order of sklearn, and of whatever sorts
    assert list(submission.columns) == ["id", "high", "low", "mid"]
    np.testing.assert_allclose(submission[sorted(classes)].sum(axis=1), 1, rtol=1e-12)
    best = submission[sorted(classes)].idxmax(axis=1)
    assert main(arguments(tmp_path, labels=True)) == 0
    labels = pd.read_csv(tmp_path / "submission.csv")
    assert list(labels.columns) == ["id", "sold"]
    assert (labels["sold"] == best).all()
    assert (labels["sold"] == np.array(classes)[truth[labels["id"]]]).mean() > 0.5


@pytest.mark.parametrize(
    ("file", "text", "message"),
    [
        ("oof/beta.csv", "id,p\n1000,0.5\n1001,1.5\n", "row 2 (id 1001), column 'p' holds 1.5"),
        ("oof/beta.csv", "id,p\n1000,0.5\n7,0.5\n", "row 2 (id 7) is not among the rows of"),
        ("test/beta.csv", "id,p\n1300,0.5\n1300,0.5\n", "row 2 (id 1300) repeats the 'id' of row"),
        ("train.csv", "id,bought\n1000,1\n", "there is no column 'sold'"),
        ("train.csv", "id,sold\n1000,1\n", "the labels hold 1 class(es)"),
    ],
)
def test_mistakes_in_files_are_one_line_and_exit_code_1(tmp_path, capsys, file, text, message):
    write_folders(tmp_path)
    (tmp_path / file).write_text(text)
    assert main(arguments(tmp_path)) == 1
    out, err = capsys.readouterr()
    assert out == ""
    assert len(err.splitlines()) == 1
    assert err.startswith(f"cfe-stack: {tmp_path / file}")
    assert message in err
    assert not (tmp_path / "submission.csv").exists()


def test_folders_and_models_that_are_missing_are_named(files, tmp_path, capsys):
    root, _ = files
    for changes, message in [
        ({"oof": "nowhere"}, "nowhere: there is no such file"),
        ({"oof": tmp_path}, "there is no file of predictions in this folder"),
        ({"target": "nowhere.csv:sold"}, "nowhere.csv: there is no such file"),
        ({"target": "sold"}, "No table of predictions has the column 'sold'"),
        ({"id": "customer"}, "there is no id column 'customer'"),
        ({"out": tmp_path / "no" / "s.csv"}, "there is no folder"),
        ({"out": tmp_path}, "is a folder; give the name of a file"),
    ]:
        assert main(arguments(root, **changes)) == 1
        out, err = capsys.readouterr()
        assert out == ""
        assert message in err
        assert "Traceback" not in err


@pytest.mark.exhaustive
def test_in_sample_files_are_refused_until_allowed(tmp_path, capsys):
    write_folders(tmp_path)
    labels = pd.read_csv(tmp_path / "train.csv")
    leak = pd.DataFrame({"id": labels["id"], "p": 0.02 + 0.96 * labels["sold"]})
    leak.to_csv(tmp_path / "oof" / "beta.csv", index=False)
    assert main(arguments(tmp_path)) == 1
    err = capsys.readouterr().err
    assert (
        "In-sample predictions suspected in 1 of 4 models, for rows that they were trained on"
        in err
    )
    assert "\n  beta: " in err
    assert "--allow-suspicious" in err
    assert main(arguments(tmp_path, allow_suspicious=True)) == 0
    assert "beta looks like in-sample predictions" in capsys.readouterr().err


@pytest.mark.exhaustive
def test_rows_without_any_prediction_are_a_warning(tmp_path, capsys):
    write_folders(tmp_path)
    labels = pd.read_csv(tmp_path / "train.csv")
    labels.loc[len(labels)] = {"id": 99, "size": 0, "sold": 1}
    labels.to_csv(tmp_path / "train.csv", index=False)
    assert main(arguments(tmp_path)) == 0
    out, err = capsys.readouterr()
    assert "cfe-stack: warning: 1 row(s) have no prediction of any base learner" in err
    assert "warning" not in out


def test_out_of_fold_predictions_are_not_predictions_for_the_test_rows(files, capsys):
    root, _ = files
    assert main(arguments(root, test=root / "test" / ".." / "oof")) == 2
    assert "--oof and --test are the same" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        (["--metric", "logloss"], "metric 'logloss' is unknown"),
        (["--n-jobs", "0"], "'0' is neither"),
    ],
)
def test_wrong_options_exit_with_2(files, capsys, wrong, message):
    with pytest.raises(SystemExit) as stop:
        main([*arguments(files[0]), *wrong])
    assert stop.value.code == 2
    assert message in capsys.readouterr().err


def test_what_is_needed_is_asked_for(capsys):
    with pytest.raises(SystemExit) as stop:
        main(["blend", "--oof", "oof"])
    assert stop.value.code == 2
    assert "required: --target, --test, --out" in capsys.readouterr().err


def test_help_shows_what_the_files_hold(capsys):
    with pytest.raises(SystemExit) as stop:
        main(["blend", "--help"])
    assert stop.value.code == 0
    out = capsys.readouterr().out
    for text in ("id,p", "exit codes", "FILE:COLUMN", "Out-of-fold means", "examples:"):
        assert text in out
    assert max(map(len, out.splitlines())) <= 100
