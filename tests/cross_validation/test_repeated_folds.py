import numpy as np
import pytest
from sklearn.model_selection import RepeatedStratifiedKFold, ShuffleSplit, StratifiedKFold

from cfe_stack.cross_validation.repeated_folds import SplitSettings, make_splits

CODES = np.array([0, 1, 1] * 10)


def test_every_row_is_held_out_once_per_repeat_in_strata():
    splits = make_splits(CODES, 5, n_repeats=2)
    assert [repeat for _, _, repeat in splits] == [0] * 5 + [1] * 5
    for repeat in (0, 1):
        tests = [test for _, test, r in splits if r == repeat]
        assert sorted(np.concatenate(tests)) == list(range(30))
        assert all(np.bincount(CODES[test]).tolist() == [2, 4] for test in tests)
    assert not np.array_equal(splits[0][1], splits[5][1])


def test_groups_stay_together_and_rows_without_a_label_stay_out():
    codes, groups = CODES.copy(), np.arange(30) // 3
    codes[:4] = -1
    for train, test, _ in make_splits(codes, 3, groups=groups, n_repeats=1):
        assert not set(groups[train]) & set(groups[test])
        assert min(*train, *test) >= 4


def test_a_splitter_is_copied_and_its_repeats_are_counted():
    splitter = RepeatedStratifiedKFold(n_splits=3, n_repeats=2, random_state=0)
    assert [s[2] for s in make_splits(CODES, splitter)] == [0, 0, 0, 1, 1, 1]
    unseeded = [make_splits(CODES, StratifiedKFold(3, shuffle=True)) for _ in range(2)]
    assert all(np.array_equal(a[1], b[1]) for a, b in zip(*unseeded, strict=True))
    drawing = StratifiedKFold(3, shuffle=True, random_state=np.random.RandomState(0))
    first, second = make_splits(CODES, drawing), make_splits(CODES, drawing)
    assert all(np.array_equal(a[1], b[1]) for a, b in zip(first, second, strict=True))
    assert max(s[2] for s in make_splits(CODES, ShuffleSplit(5, test_size=0.5, random_state=0))) > 0


def test_a_list_numbers_all_rows():
    codes = CODES.copy()
    codes[0] = -1
    ((train, test, _),) = make_splits(codes, [(np.arange(30) < 20, np.arange(20, 30))])
    assert train.tolist() == list(range(1, 20))
    assert test.tolist() == list(range(20, 30))


@pytest.mark.parametrize(
    ("cv", "message"),
    [
        (11, "needs two classes with 11 labeled rows each; the rows per class are {0: 10, 1: 20}"),
        ([(np.arange(20), np.arange(20, 31))], "names row 30"),
        ([(np.arange(20), np.arange(15, 30))], "5 of them in both parts"),
        ([(np.arange(20), np.arange(0))], "test part of fold 0 of cv must be a non-empty"),
        ("five", "cv must be an integer"),
    ],
)
def test_bad_folds_are_refused(cv, message):
    with pytest.raises(ValueError, match=message):
        make_splits(CODES, cv)


@pytest.mark.parametrize("groups", [np.arange(7), [None, *np.arange(1, len(CODES))]])
def test_settings_check_groups(groups):
    with pytest.raises(ValueError, match="groups must have shape|groups holds no group in 1"):
        SplitSettings(cv=3).splits(CODES, groups)
