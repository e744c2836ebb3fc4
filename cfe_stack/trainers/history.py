"""The training history, which plots and callbacks read."""

import numpy as np


class TrainingHistory:
    """Named quantities with one value per sweep or epoch.

    Examples
    --------
    >>> from cfe_stack.trainers import TrainingHistory
    >>> history = TrainingHistory()
    >>> history.append(objective=2.0, reconstruction=1.0)
    >>> history.append(objective=1.5, reconstruction=0.5)
    >>> history["objective"]
    array([2. , 1.5])
    >>> len(history), history.names
    (2, ('objective', 'reconstruction'))
    """

    def __init__(self) -> None:
        self.records: list[dict[str, float]] = []

    def append(self, **values: float) -> None:
        """Add the values of one sweep or epoch."""
        self.records.append({name: float(value) for name, value in values.items()})

    @property
    def names(self) -> tuple[str, ...]:
        """Names of the recorded quantities."""
        return tuple(self.records[0]) if self.records else ()

    def __getitem__(self, name: str) -> np.ndarray:
        """Return the values called `name`, one per sweep or epoch."""
        return np.array([record[name] for record in self.records])

    def __len__(self) -> int:
        return len(self.records)

    def relative_change(self) -> float:
        """Return the last absolute change of the objective relative to its size, inf at first."""
        if len(self) < 2:
            return float("inf")
        before, now = self.records[-2]["objective"], self.records[-1]["objective"]
        return abs(before - now) / max(abs(before), np.finfo(float).tiny)
