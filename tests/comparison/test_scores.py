import numpy as np
import pytest

from cfe_stack.comparison.problems import FoldSize
from cfe_stack.comparison.scores import FoldScores, as_frame
from cfe_stack.metrics import METRICS

NAN = np.nan


def scores(log_loss, roc_auc=None, problems="aabb"):
    log_loss = np.array(log_loss, dtype=float)
    table = {"log_loss": log_loss, "roc_auc": 1 - log_loss if roc_auc is None else roc_auc}
    folds = tuple(FoldSize(name, 0, f, 80, 20) for f, name in enumerate(problems))
    names = tuple("xyz"[: len(log_loss)])
    metrics = (METRICS["log_loss"], METRICS["roc_auc"])
    return FoldScores(names, folds, metrics, table, np.ones_like(log_loss))


def test_folds_are_averaged_inside_their_data_set():
    found = scores([[0.1, 0.3, 0.5, 0.5], [0.2, 0.2, 0.1, 0.3]])
    np.testing.assert_allclose(found.means(), [[0.2, 0.5], [0.2, 0.2]])
    assert found.problems == ("a", "b")
    assert found.values().test_share == 0.25


def test_ranks_follow_the_direction_of_the_metric():
    found = scores([[0.1, 0.1, 0.3, 0.3], [0.2, 0.2, 0.1, 0.1], [0.4, 0.4, 0.4, 0.4]])
    assert found.ranks() == found.ranks("roc_auc") == {"x": 1.5, "y": 1.5, "z": 3.0}
    assert list(scores([[0.9] * 4, [0.1] * 4]).ranks()) == ["y", "x"]


def test_a_single_data_set_ranks_by_fold():
    found = scores([[0.1, 0.4, 0.1, 0.4], [0.2, 0.2, 0.2, 0.3]], problems="aaaa")
    assert found.values().single
    assert found.ranks() == {"x": 1.5, "y": 1.5}


def test_a_fold_that_is_defined_for_nobody_is_left_out():
    found = scores([[0.1, NAN, 0.3, 0.3], [0.2, NAN, 0.1, 0.1]])
    np.testing.assert_allclose(found.means(), [[0.1, 0.3], [0.2, 0.1]])
    nowhere = scores([[NAN, NAN, 0.3, 0.3], [NAN, NAN, 0.1, 0.1]])
    assert nowhere.ranks() == {"y": 1.0, "x": 2.0}


def test_who_failed_in_a_fold_is_not_ranked():
    found = scores([[0.1, NAN, 0.3, 0.3], [0.2, 0.2, 0.1, 0.1]])
    assert np.isnan(found.means()[0, 0])
    assert list(found.ranks()) == ["y"]


@pytest.mark.parametrize("library", ["pandas", "polars"])
def test_the_tidy_table(library):
    pytest.importorskip(library)
    frame = scores([[0.1, 0.3, 0.5, 0.5], [0.2, 0.2, 0.1, 0.3]]).to_frame(library)
    assert frame.shape == (2 * 4 * 2, 9)
    rows = [dict(zip(frame.columns, row, strict=True)) for row in frame.to_numpy()]
    (row,) = (r for r in rows if (r["contender"], r["fold"], r["metric"]) == ("y", 3, "log_loss"))
    assert (row["data_set"], row["score"], row["n_test"]) == ("b", 0.3, 20)


def test_unknown_names_are_refused():
    with pytest.raises(ValueError, match="'brier' was not computed; there are"):
        scores([[0.1] * 4]).means("brier")
    with pytest.raises(ValueError, match="library must be 'pandas' or 'polars'"):
        as_frame([], "spark")
