"""YAML files of people and packages: read within bounds, as plain data."""

from __future__ import annotations

import io
from pathlib import Path

from workbench.errors import ConfigError
from workbench.types import Record
from workbench.types.reading import DEEPEST, Source, bounded, brief, read_bytes

MOST_YAML_BYTES = 2**20


def read_yaml(path: Path) -> Record:
    """A YAML file as plain data, with text as it stands; ConfigError if it is no mapping."""
    import yaml
    from omegaconf import OmegaConf

    text = yaml_text(path)
    refused = f"{path.name} is no YAML mapping"
    try:
        root = yaml.compose(text, Loader=yaml.SafeLoader)
        content = OmegaConf.to_container(OmegaConf.load(io.StringIO(text)))
        bounded(content)
    except Exception as error:  # whatever the library makes of what is none
        raise ConfigError(f"{refused}: {brief(str(error)) or type(error).__name__}") from None
    if not isinstance(content, dict) or not isinstance(
        root, yaml.MappingNode | None
    ):  # OmegaConf takes a word for a key
        raise ConfigError(f"{refused}, but a {'list' if isinstance(content, list) else 'single value'}")
    return {str(key): value for key, value in content.items()}


def yaml_text(path: Path) -> str:
    """Text of a YAML file that is small, not deep, and says everything once; ConfigError otherwise.

    A few aliases (``*name``) of aliases stand for more than any memory holds.
    """
    import yaml

    source = Source(path.name, ConfigError)
    content = read_bytes(path, source, MOST_YAML_BYTES)
    depth = 0
    try:
        text = content.decode("utf-8-sig")
        for event in yaml.parse(text, Loader=getattr(yaml, "CSafeLoader", yaml.SafeLoader)):
            if isinstance(event, yaml.AliasEvent):
                raise source.wrong(f"says *{brief(event.anchor)}: write out what it stands for")
            depth += isinstance(event, yaml.CollectionStartEvent) - isinstance(event, yaml.CollectionEndEvent)
            if depth > DEEPEST:
                raise source.wrong(f"is nested deeper than {DEEPEST}")
    except UnicodeDecodeError as error:
        raise source.wrong(f"is not UTF-8 (byte {error.start})") from None
    except (yaml.YAMLError, RecursionError) as error:
        raise source.wrong(f"is no YAML: {brief(str(error))}") from None
    return text
