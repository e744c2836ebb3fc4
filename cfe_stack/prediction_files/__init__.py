"""Predictions in files."""

from cfe_stack.prediction_files.files import (
    read_predictions,
    read_train_and_test,
    write_predictions,
)

__all__ = [
    "read_predictions",
    "read_train_and_test",
    "write_predictions",
]
