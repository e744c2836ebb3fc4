"""Out-of-fold predictions of base learners, collected into an ensemble matrix."""

from cfe_stack.out_of_fold.cache import (
    CacheWarning,
    FoldCache,
)
from cfe_stack.out_of_fold.collect import (
    collect_out_of_fold,
)
from cfe_stack.out_of_fold.collection import (
    FailedLearnerWarning,
    Failure,
)
from cfe_stack.out_of_fold.native_cv import (
    fold_keeper,
    predictions_of_cv,
)
from cfe_stack.out_of_fold.out_of_fold_data import (
    OutOfFoldData,
)
from cfe_stack.out_of_fold.prefit import (
    predictions_of_fitted,
)

__all__ = [
    "CacheWarning",
    "FailedLearnerWarning",
    "Failure",
    "FoldCache",
    "OutOfFoldData",
    "collect_out_of_fold",
    "fold_keeper",
    "predictions_of_cv",
    "predictions_of_fitted",
]
