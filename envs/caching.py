"""Where what is computed once is kept: machine code and robot cells.

An installation may be read-only, and a user without a home, as in containers.  Then a temporary folder is used, which
nobody else may write: numba's cache holds code.
"""

from __future__ import annotations

import functools
import hashlib
import importlib.util
import os
import stat
import tempfile
from pathlib import Path

import numba

from workbench.types.text import visible

NAME = "failure-workbench"


def cache_folder() -> Path | None:
    """``failure-workbench`` in the user's cache folder, or in the temporary one; None where none can be written."""
    kept = Path(os.environ.get("XDG_CACHE_HOME") or os.path.expanduser("~/.cache")) / NAME
    if kept.is_absolute() and writable(kept):  # without any home, ~ stays as it is
        return kept
    try:
        return _temporary()
    except OSError:
        return None


def writable(folder: Path) -> bool:
    """Whether files can be made in a folder, which is made if need be."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        tempfile.TemporaryFile(dir=folder).close()
    except OSError:
        return False
    return True


@functools.cache
def _temporary() -> Path:
    """A temporary folder of this user's, the same one for every process, or a new one where somebody else took it."""
    user = os.getuid() if hasattr(os, "getuid") else "user"
    shared = Path(tempfile.gettempdir()) / f"{NAME}-{user}"
    shared.mkdir(mode=0o700, exist_ok=True)
    found = shared.lstat()
    if stat.S_ISDIR(found.st_mode) and found.st_uid == user and not found.st_mode & 0o022 and writable(shared):
        return shared
    return Path(tempfile.mkdtemp(prefix=f"{NAME}-"))


def numba_can_cache() -> bool:
    """Let numba keep machine code beside the source, or else in :func:`cache_folder`; whether it can at all.

    numba asks for a folder when a function is decorated, robosuite's too, and raises where it finds none.
    """
    if numba.config.CACHE_DIR and writable(Path(numba.config.CACHE_DIR)):
        return True
    found = importlib.util.find_spec("robosuite")
    others = (found.submodule_search_locations if found else None) or ()
    beside = [Path(__file__).parent, *(Path(each) / "utils" for each in others)]
    if not numba.config.CACHE_DIR and all(writable(folder / "__pycache__") for folder in beside):
        return True
    folder = cache_folder()
    # The environment too: worker processes use the same folder, and numba reads it again.
    os.environ["NUMBA_CACHE_DIR"] = numba.config.CACHE_DIR = str(folder / "numba" / _sources()) if folder else ""
    return folder is not None and visible(__file__) == __file__  # numba encodes the path of a function as UTF-8


def _sources() -> str:
    """Digest of what is compiled: numba looks at the file of a function, not at those of the functions it calls."""
    digest = hashlib.sha256()
    for path in sorted(Path(__file__).parent.rglob("*.py")):
        digest.update(path.read_bytes())
    return digest.hexdigest()[:12]
