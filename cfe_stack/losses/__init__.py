"""Losses on raw scores, class weights, links and the objective."""

from cfe_stack.losses.class_weight import (
    class_weights,
    instance_weights,
    prior_log_odds,
)
from cfe_stack.losses.focal_loss import (
    FocalLoss,
    loss_gradient,
)
from cfe_stack.losses.labeled_rows import (
    LabeledRows,
    LossSettings,
)
from cfe_stack.losses.link import (
    CenteredLogRatioLink,
    IdentityLink,
    Link,
    LogitLink,
    make_link,
)
from cfe_stack.losses.objective import (
    combined,
    reconstruction_loss,
    squared_error,
    squared_error_in_place,
    supervised_loss,
)
from cfe_stack.losses.raw_scores import (
    in_scores,
    margin_directions,
    margins,
    probabilities,
)
from cfe_stack.losses.schedules import (
    CosineSchedule,
    LinearSchedule,
    scheduled,
)

__all__ = [
    "CenteredLogRatioLink",
    "CosineSchedule",
    "FocalLoss",
    "IdentityLink",
    "LabeledRows",
    "LinearSchedule",
    "Link",
    "LogitLink",
    "LossSettings",
    "class_weights",
    "combined",
    "in_scores",
    "instance_weights",
    "loss_gradient",
    "make_link",
    "margin_directions",
    "margins",
    "prior_log_odds",
    "probabilities",
    "reconstruction_loss",
    "scheduled",
    "squared_error",
    "squared_error_in_place",
    "supervised_loss",
]
