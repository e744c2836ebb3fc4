import numpy as np
import pytest
from sklearn.model_selection import KFold, RepeatedKFold, StratifiedKFold

from cfe_stack.cross_validation.splitters import check_cv_option, pinned, row_numbers


@pytest.mark.parametrize("cv", [2, np.int64(3), KFold(2), [([0], [1]), ([1], [0])]])
def test_allowed_cv_options(cv):
    check_cv_option(cv)


@pytest.mark.parametrize("cv", [1, 0, True, None, 2.5, "5", [], [(1, 2, 3)], [1, 2], KFold])
def test_unknown_cv_options_are_refused(cv):
    with pytest.raises(ValueError, match="cv must be an integer >= 2, a splitter .*, or a list"):
        check_cv_option(cv)


def test_a_copy_of_a_splitter_is_seeded_where_it_draws():
    for cv in (KFold(3, shuffle=True), RepeatedKFold(n_splits=3)):
        assert pinned(cv).random_state == 0
        assert cv.random_state is None
    assert pinned(KFold(3)).random_state is None
    assert pinned(StratifiedKFold(3, shuffle=True, random_state=7)).random_state == 7


@pytest.mark.parametrize("part", [[4, 1], np.array([4, 1], dtype=np.uint8)])
def test_row_numbers_stay_in_their_order(part):
    assert row_numbers(part, 5, 0, "test").tolist() == [4, 1]


@pytest.mark.parametrize(
    ("part", "message"),
    [
        ([], "The test part of fold 2 of cv must be a non-empty array of row indices or a mask"),
        ([True, False], "a mask of 5 rows; got shape .2,. and type bool"),
        ([0.5], "type float64"),
        ([0, 5], "names row 5; X has the rows 0 … 4"),
        ([-1, 2], "names row -1"),
        ([3, 3], "names a row twice"),
    ],
)
def test_what_is_no_part_of_the_rows_is_refused(part, message):
    with pytest.raises(ValueError, match=message):
        row_numbers(part, 5, 2, "test")
