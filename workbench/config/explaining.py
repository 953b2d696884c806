"""What is wrong with a composition, in one line out of Hydra's several, with the nearest right word."""

from __future__ import annotations

import contextlib
import difflib
import errno
from collections.abc import Callable, Iterable, Iterator
from typing import Any

from workbench.config.options import options_of
from workbench.errors import ConfigError, UnknownNameError
from workbench.types import Record


@contextlib.contextmanager
def explained(config: Callable[[], Record]) -> Iterator[None]:
    """Turn what Hydra and OmegaConf raise into a ConfigError of one line.

    Parameters
    ----------
    config : gives the configuration whose keys are known, where one was not found.
    """
    from hydra.errors import HydraException
    from omegaconf.errors import OmegaConfBaseException

    try:
        yield
    except (HydraException, OmegaConfBaseException) as error:
        raise ConfigError(" ".join(explain(error, config).split())) from None
    except OSError as error:
        if error.errno != errno.ENAMETOOLONG:
            raise
        raise ConfigError("a name is too long to be that of a yaml file") from None


def explain(error: Exception, config: Callable[[], Record]) -> str:
    """One line out of Hydra's several, with the nearest right key or option where there is one."""
    from hydra.errors import MissingConfigException
    from omegaconf.errors import ConfigAttributeError, ConfigKeyError, ValidationError

    last: BaseException = error
    link: BaseException | None = error
    while link is not None:
        if isinstance(link, MissingConfigException) and link.missing_cfg_file:
            return _unknown_option(link.missing_cfg_file, link.options or ())
        if isinstance(link, (ConfigAttributeError, ConfigKeyError)) and link.full_key:
            return f"unknown key {link.full_key!r}.{near_key(link.full_key, config())}"
        if isinstance(link, ValidationError) and link.full_key:
            return f"{link.full_key}: {str(link.msg or link).splitlines()[0]}"
        last, link = link, link.__cause__ or link.__context__
    return f"{error}: {last}" if last is not error else str(error)


def _unknown_option(path: str, options: Iterable[str]) -> str:
    """What to say of a file that a group of the configuration does not have, ``group/name``."""
    group, _, asked = path.rpartition("/")
    with contextlib.suppress(FileNotFoundError):  # there is no such group: Hydra's options are those of the one above
        options = options_of(group)
    return str(UnknownNameError(group, asked, options))


def near_key(asked: str, config: Record) -> str:
    """A hint with the nearest keys of a configuration."""
    known = [key for key in keys_of(config) if not asked.startswith(f"{key}.")]
    asked_last = asked.rsplit(".", 1)[-1]
    near = difflib.get_close_matches(asked, known, n=1, cutoff=0.6) or [
        key for key in known if difflib.SequenceMatcher(None, key.rsplit(".", 1)[-1], asked_last).ratio() > 0.7
    ]
    if near:
        return f" Did you mean {near[0]!r}?"
    scope = asked.rsplit(".", 1)[0] + "." if "." in asked else ""
    level = [key for key in known if key.startswith(scope) and "." not in key.removeprefix(scope)]
    return f" Known: {', '.join(level)}." if level else ""


def keys_of(node: Any, prefix: str = "") -> Iterator[str]:
    """Dotted keys of nested dictionaries."""
    if isinstance(node, dict):
        for key, value in node.items():
            if not str(key).startswith("_"):
                yield f"{prefix}{key}"
                yield from keys_of(value, f"{prefix}{key}.")
