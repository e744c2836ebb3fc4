"""Checks for leaks: suspiciously good or repeated columns, and the meta-learner itself."""

from cfe_stack.leakage.leakage_report import (
    LeakageReport,
    check_leakage,
)

__all__ = [
    "LeakageReport",
    "check_leakage",
]
