import numpy as np
import pytest
from sklearn.model_selection import (
    KFold,
    RepeatedKFold,
    ShuffleSplit,
    StratifiedGroupKFold,
    StratifiedKFold,
    TimeSeriesSplit,
)

from cfe_stack.cross_validation.fold_plan import plan_folds, validation_split

Y = np.arange(60) % 3
X = np.zeros((60, 1))


def test_a_number_is_scikit_learns_default():
    plan = plan_folds(4, X, Y)
    for ours, theirs in zip(plan.splits, StratifiedKFold(4).split(X, Y), strict=True):
        for part, other in zip(ours, theirs, strict=True):
            np.testing.assert_array_equal(part, other)
    assert plan.fold_ids.shape == (1, 60)
    assert not plan.ordered


def test_a_number_with_groups_keeps_them_together():
    groups = np.arange(60) % 7
    plan = plan_folds(3, X, Y, groups)
    expected = list(StratifiedGroupKFold(3).split(X, Y, groups))
    np.testing.assert_array_equal(plan.splits[1][1], expected[1][1])


@pytest.mark.parametrize(
    ("cv", "repeats"),
    [
        (RepeatedKFold(n_splits=4, n_repeats=3, random_state=0), 3),
        (TimeSeriesSplit(4), 1),
        ([(np.arange(30), np.arange(30, 60)), (np.arange(30, 60), np.arange(30))], 1),
        ([(np.arange(60) < 50, np.arange(60) >= 50)] * 2, 2),
    ],
)
def test_folds_that_do_not_overlap_are_one_repeat(cv, repeats):
    plan = plan_folds(cv, X, Y)
    assert len(plan.fold_ids) == repeats
    for fold, ((train, test), repeat) in enumerate(zip(plan.splits, plan.repeat_of, strict=True)):
        assert (plan.fold_ids[repeat, test] == fold).all()
        assert set(train).isdisjoint(test)
    held_out = np.concatenate([test for _, test in plan.splits])
    assert (plan.fold_ids >= 0).sum() == len(held_out)


def test_random_splits_overlap_and_are_told_apart():
    plan = plan_folds(ShuffleSplit(5, test_size=0.4, random_state=0), X, Y)
    assert plan.n_folds == 5
    assert (plan.fold_ids >= 0).sum() == 5 * 24
    assert sorted(set(plan.repeat_of)) == list(range(len(plan.fold_ids)))


@pytest.mark.parametrize("cv", [KFold(3, shuffle=True), RepeatedKFold(n_splits=3), ShuffleSplit(3)])
def test_an_unseeded_splitter_draws_the_same_folds_and_is_left_alone(cv):
    first, second = plan_folds(cv, X, Y), plan_folds(cv, X, Y)
    np.testing.assert_array_equal(first.fold_ids, second.fold_ids)
    assert cv.random_state is None


def test_a_generator_of_splits_is_read_once():
    folds = KFold(3).split(X)
    plan = plan_folds(folds, X, Y)
    with pytest.raises(ValueError, match=r"an iterator with nothing left: .* Pass list\(cv\)"):
        plan_folds(folds, X, Y)
    np.testing.assert_array_equal(plan.fold_ids, plan_folds(KFold(3), X, Y).fold_ids)


@pytest.mark.parametrize(
    ("cv", "message"),
    [
        (1, "cv must be an integer >= 2"),
        ("prefit", "may have been trained on"),
        ([(np.arange(10), np.arange(5, 20))], "Fold 0 of cv trains on 5 of the rows"),
        ([(np.arange(10), np.arange(50, 70))], "names row 69; X has the rows 0 … 59"),
    ],
)
def test_impossible_folds_are_refused(cv, message):
    with pytest.raises(ValueError, match=message):
        plan_folds(cv, X, Y)


ROWS = np.arange(10, 60)


def test_validation_rows_come_from_every_class_but_leave_it_to_be_fitted():
    codes = Y.copy()
    codes[-1] = 3
    fitted, validation = validation_split(ROWS, codes, 0.2)
    assert sorted([*fitted, *validation]) == ROWS.tolist()
    assert set(codes[validation]) == {0, 1, 2}
    assert set(codes[fitted]) == {0, 1, 2, 3}
    assert 8 <= len(validation) <= 12
    again = validation_split(ROWS, codes, 0.2)[1]
    np.testing.assert_array_equal(validation, again)
    assert set(validation_split(ROWS, codes, 0.2, seed=1)[1]) != set(validation)


def test_validation_rows_keep_groups_and_order():
    groups = np.arange(60) // 5
    fitted, validation = validation_split(ROWS, Y, 0.2, groups=groups)
    assert set(groups[fitted]).isdisjoint(groups[validation])
    assert len(validation) == 10
    fitted, validation = validation_split(ROWS, Y, 0.2, ordered=True)
    np.testing.assert_array_equal(validation, np.arange(50, 60))


@pytest.mark.parametrize("groups", [None, np.zeros(60)])
def test_too_few_rows_to_hold_any_back(groups):
    with pytest.raises(ValueError, match="early stopping needs validation rows"):
        validation_split(np.array([0, 1, 2]), Y, 0.2, groups=groups)
