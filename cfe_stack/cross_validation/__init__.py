"""Folds: inner folds by content, pinned fold plans, repeated folds and splitters."""
