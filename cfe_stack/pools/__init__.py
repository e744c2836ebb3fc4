"""Opinion pools, their paths of penalties, and the default aggregator."""

from cfe_stack.pools.calibration import (
    Calibration,
    calibrate,
)
from cfe_stack.pools.gates import (
    Gates,
    linear_gate,
    mean_entropy,
)
from cfe_stack.pools.linear_pool import (
    LinearFamily,
    LinearPool,
    MixturePoint,
    MixtureProblem,
    greedy_selection,
)
from cfe_stack.pools.log_pool import (
    Family,
    Pool,
    bounded_log_odds,
    fit_scale,
    recalibrated,
    scale_problem,
)

__all__ = [
    "Calibration",
    "Family",
    "Gates",
    "LinearFamily",
    "LinearPool",
    "MixturePoint",
    "MixtureProblem",
    "Pool",
    "bounded_log_odds",
    "calibrate",
    "fit_scale",
    "greedy_selection",
    "linear_gate",
    "mean_entropy",
    "recalibrated",
    "scale_problem",
]
