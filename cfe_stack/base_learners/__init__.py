"""What each family of base learners needs: early stopping, native boosters, host ensembles."""

from cfe_stack.base_learners.early_stopping import (
    EarlyStopping,
)
from cfe_stack.base_learners.fitted_learner import (
    FittedLearner,
)
from cfe_stack.base_learners.host_ensembles import (
    base_learners,
)
from cfe_stack.base_learners.native_boosters import (
    LightGBMTrain,
    XGBoostTrain,
)

__all__ = [
    "EarlyStopping",
    "FittedLearner",
    "LightGBMTrain",
    "XGBoostTrain",
    "base_learners",
]
