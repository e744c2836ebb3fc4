"""Results of single folds on disk: written once and whole, found again by what they came from."""

import hashlib
import os
import tempfile
import zipfile
from pathlib import Path
from typing import Any

import joblib
import numpy as np

FORMAT = 1
"""Raised whenever stored results can no longer be trusted to be what a run would give."""


def content_key(*parts: Any) -> str:
    """Return a name for what `parts` hold: arrays, text, numbers, and lists and dicts of them.

    Examples
    --------
    >>> import numpy as np
    >>> from cfe_stack.fold_store import content_key
    >>> content_key(np.arange(3), "mean") == content_key(np.arange(3), "mean")
    True
    >>> content_key(np.arange(3), "mean") == content_key(np.arange(3), "median")
    False
    """
    digests = "/".join(joblib.hash(part) for part in (FORMAT, *parts))
    return hashlib.sha256(digests.encode()).hexdigest()[:32]


class FoldStore:
    """A folder of held-out probabilities.

    Parameters
    ----------
    folder : path-like
        Made if it is not there.

    Notes
    -----
    Files appear under their name only when they are complete, so that an interrupted run leaves
    nothing half written, and several processes may share a folder.
    """

    def __init__(self, folder: str | os.PathLike[str]) -> None:
        self.folder = Path(folder)

    def _path(self, key: str) -> Path:
        return self.folder / key[:2] / f"{key}.npz"

    def load(self, key: str) -> tuple[np.ndarray, float] | None:
        """Return probabilities and the seconds they took, or None if there are none to be read."""
        try:
            with self._path(key).open("rb") as opened, np.load(opened) as file:
                return file["proba"], float(file["seconds"])
        except (OSError, KeyError, ValueError, EOFError, zipfile.BadZipFile):
            return None

    def save(self, key: str, proba: np.ndarray, seconds: float) -> None:
        """Keep probabilities and the seconds they took."""
        path = self._path(key)
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, temporary = tempfile.mkstemp(dir=path.parent, suffix=".part")
        try:
            with os.fdopen(handle, "wb") as file:
                np.savez(file, proba=proba, seconds=seconds)
            os.replace(temporary, path)
        except BaseException:
            Path(temporary).unlink(missing_ok=True)
            raise
