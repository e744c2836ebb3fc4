"""A resumable store of fold predictions: one checked file per finished fit, written atomically.

An entry is a ``.npz`` file without pickled objects under the content address of what it depends
on. It appears whole or not at all, so a process may be killed at any moment and two may share a
directory; a damaged entry is recognized by its checksum.
"""

import hashlib
import io
import json
import os
import time
import uuid
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from cfe_stack.out_of_fold.fingerprints import FORMAT

STALE_SECONDS = 3600.0
"""Half-written files of killed processes are removed when they are this old."""


class DamagedEntryError(ValueError):
    """A cache entry that cannot be read, or cannot be what was stored."""


class CacheWarning(UserWarning):
    """A cache entry could not be read or stored, or was damaged; results are not affected."""


@dataclass(frozen=True, eq=False)
class Entry:
    """What is kept of one fit.

    Parameters
    ----------
    scores : ndarray of shape (n, w)
        Predictions of the rows it was asked for: probabilities of all classes, or margins.
    details : dict
        Numbers and strings: seconds, number of trees, names for people who look into the file.
    """

    scores: np.ndarray
    details: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class FoldCache:
    """Entries in a directory.

    Parameters
    ----------
    directory : path
        Created when the first entry is stored; ``~`` stands for the home directory.

    Examples
    --------
    >>> import tempfile
    >>> import numpy as np
    >>> from cfe_stack.out_of_fold.cache import Entry
    >>> from cfe_stack.out_of_fold import FoldCache
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     cache = FoldCache(folder)
    ...     cache.store("ab12", Entry(np.array([[0.2, 0.8]]), {"seconds": 1.5}))
    ...     print(cache.load("ab12").scores, cache.load("cd34"))
    [[0.2 0.8]] None
    """

    directory: str | os.PathLike[str]

    @property
    def root(self) -> Path:
        """Where entries are."""
        return Path(self.directory).expanduser()

    def path(self, address: str) -> Path:
        """Return the file of an address.

        Parameters
        ----------
        address : str
        """
        return self.root / address[:2] / f"{address}.npz"

    def load(self, address: str) -> Entry | None:
        """Return an entry, None if there is none.

        Parameters
        ----------
        address : str

        Raises
        ------
        DamagedEntryError
            If the file is there but cannot be read, or is not what was stored under this address.
        """
        path = self.path(address)
        try:
            with open(path, "rb") as opened, np.load(opened, allow_pickle=False) as file:
                scores, text = file["scores"], str(file["details"])
                checksum = str(file["checksum"])
        except (FileNotFoundError, NotADirectoryError):
            return None
        except Exception as error:  # damaged bytes make NumPy and zipfile raise almost anything
            raise DamagedEntryError(f"{path} cannot be read ({error})") from error
        if checksum != _checksum(address, scores, text):
            raise DamagedEntryError(f"{path}: checksum mismatch")
        return Entry(scores, json.loads(text))

    def store(self, address: str, entry: Entry) -> None:
        """Write an entry so that it is there whole or not at all.

        Parameters
        ----------
        address : str
        entry : Entry

        Raises
        ------
        OSError
            If the directory cannot be written or the disk is full; no part of the entry stays.
        """
        path = self.path(address)
        path.parent.mkdir(parents=True, exist_ok=True)
        scores, text = np.ascontiguousarray(entry.scores), json.dumps(dict(entry.details))
        packed, checksum = io.BytesIO(), _checksum(address, scores, text)
        np.savez(packed, scores=scores, details=np.array(text), checksum=np.array(checksum))
        partial = path.with_name(f"{address}.{os.getpid()}-{uuid.uuid4().hex[:8]}.partial")
        try:
            with open(partial, "xb") as file:
                file.write(packed.getbuffer())
                file.flush()
                os.fsync(file.fileno())
            os.replace(partial, path)
        except BaseException:
            partial.unlink(missing_ok=True)
            raise
        _sync_directory(path.parent)

    def remove_leftovers(self, older_than: float = STALE_SECONDS) -> int:
        """Remove what killed processes left half-written, and return how many files that were.

        Parameters
        ----------
        older_than : float
            Seconds; younger files may belong to a process that is alive.
        """
        removed, now = 0, time.time()
        for partial in self.root.glob("??/*.partial"):
            try:
                if now - partial.stat().st_mtime > older_than:
                    partial.unlink()
                    removed += 1
            except OSError:
                continue  # another process was faster, or it is not ours to remove
        return removed


def _checksum(address: str, scores: np.ndarray, text: str) -> str:
    digest = hashlib.sha256(
        f"{FORMAT}\n{address}\n{scores.dtype.str}{scores.shape}\n{text}".encode()
    )
    digest.update(scores.tobytes())
    return digest.hexdigest()


def _sync_directory(folder: Path) -> None:
    """Make the new name of a file outlast a power cut, where the system allows it."""
    try:
        descriptor = os.open(folder, os.O_RDONLY)
    except OSError:
        return
    try:
        os.fsync(descriptor)
    except OSError:
        pass
    finally:
        os.close(descriptor)
