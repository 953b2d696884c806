"""From words on the command line to objects: the schema of a run, and the one place where targets are instantiated."""

from workbench.config.build import build, check_arguments, ctrl_c_held_back, job_of, parameters_of, resolve
from workbench.config.compose import (
    command_line,
    compose,
    hydra_words,
    plain,
    prepare_hydra,
)
from workbench.config.files import (
    building,
    data_path,
    digest,
    hash_file,
    put,
    remove,
    replacing,
    root_folder,
    shown,
    write_bytes,
    write_text,
)
from workbench.config.journal import Entry, command, journalled, versions
from workbench.config.options import options_of
from workbench.config.parts import ZOO, described, made, made_policy, origin_of, weights_digest
from workbench.config.plugins import Plugin, installed_plugins
from workbench.config.reading import read_yaml
from workbench.config.run import Run, recalled
from workbench.config.schema import MonitorSchema, RolloutSchema, Schema, refuse_name
from workbench.config.sweep import fixed_keys

__all__ = [
    "ZOO",
    "Entry",
    "MonitorSchema",
    "Plugin",
    "RolloutSchema",
    "Run",
    "Schema",
    "build",
    "building",
    "check_arguments",
    "command",
    "command_line",
    "compose",
    "ctrl_c_held_back",
    "data_path",
    "described",
    "digest",
    "fixed_keys",
    "hash_file",
    "hydra_words",
    "installed_plugins",
    "job_of",
    "journalled",
    "made",
    "made_policy",
    "options_of",
    "origin_of",
    "parameters_of",
    "plain",
    "prepare_hydra",
    "put",
    "read_yaml",
    "recalled",
    "refuse_name",
    "remove",
    "replacing",
    "resolve",
    "root_folder",
    "shown",
    "versions",
    "weights_digest",
    "write_bytes",
    "write_text",
]
