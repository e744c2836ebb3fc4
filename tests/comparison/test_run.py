import warnings

import numpy as np
import pytest

from cfe_stack import EnsembleData
from cfe_stack.comparison.contenders import resolve_contenders
from cfe_stack.comparison.problems import as_problems
from cfe_stack.comparison.run import run_fold
from cfe_stack.cross_validation.repeated_folds import SplitSettings
from cfe_stack.datasets import make_ensemble
from cfe_stack.out_of_fold.cache import CacheWarning, FoldCache


@pytest.fixture
def problem():
    made = make_ensemble(4, 60, random_state=0)
    data = EnsembleData(made.R, made.labels, sample_weight=np.arange(60.0))
    return as_problems(data, None, None, SplitSettings(cv=3, n_repeats=1))[0]


def run(problem, contenders, cache=None, fold=0, on_error="note"):
    size = problem.sizes()[fold]
    return run_fold(problem, size, resolve_contenders(contenders), cache, on_error, None)


def test_what_is_returned_of_a_fold(problem):
    found = run(problem, ["mean", "best single"], fold=1)
    _, test = problem.parts(1)
    np.testing.assert_array_equal(found.codes, test.labels)
    np.testing.assert_array_equal(found.weights, test.sample_weight)
    np.testing.assert_allclose(found.outcomes[0].proba[:, 1], test.R.mean(axis=0))
    assert found.outcomes[1].seconds > 0


def test_a_damaged_result_is_computed_again(problem, tmp_path):
    cache = FoldCache(tmp_path)
    first = run(problem, ["mean"], cache)
    (path,) = tmp_path.rglob("*.npz")
    path.write_bytes(path.read_bytes()[:-30])
    with pytest.warns(CacheWarning, match="will be recomputed"):
        second = run(problem, ["mean"], cache)
    np.testing.assert_array_equal(first.outcomes[0].proba, second.outcomes[0].proba)
    assert run(problem, ["mean"], cache).outcomes[0].seconds == second.outcomes[0].seconds


def test_a_folder_that_cannot_be_written_costs_nothing_but_a_warning(problem, tmp_path):
    (tmp_path / "file").write_text("in the way")
    with pytest.warns(CacheWarning, match="was not stored"):
        found = run(problem, ["mean"], FoldCache(tmp_path / "file" / "folder"))
    assert found.outcomes[0].proba is not None


def test_names_share_results_and_parameters_do_not(problem, tmp_path):
    cache = FoldCache(tmp_path)
    for contenders in (["mean"], {"average": "mean"}, ["best single"]):
        run(problem, contenders, cache)
    assert len(list(tmp_path.rglob("*.npz"))) == 2


def test_errors_are_kept_or_raised(problem):
    def fails(train, test):
        raise RuntimeError("no luck")

    outcome = run(problem, {"it": fails}).outcomes[0]
    assert (outcome.proba, outcome.error) == (None, "RuntimeError: no luck")
    with pytest.raises(RuntimeError, match="no luck"):
        run(problem, {"it": fails}, on_error="raise")


def test_warnings_of_a_contender_are_not_swallowed(problem):
    def warns(train, test):
        warnings.warn("look here", UserWarning, stacklevel=1)
        return np.full((test.n_instances, 2), 0.5)

    with pytest.warns(UserWarning, match="look here"):
        run(problem, {"it": warns})
