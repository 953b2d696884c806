"""From words on the command line to objects: the schema of a run, and the one place where targets are instantiated."""

from workbench.config.build import build, check_arguments, ctrl_c_held_back, job_of, parameters_of, resolve
from workbench.config.compose import (
    command_asked,
    command_line,
    compose,
    hydra_words,
    plain,
    prepare_hydra,
    read_yaml,
    words_asked,
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
from workbench.config.options import options_of
from workbench.config.parts import ZOO, described, made, made_policy, origin_of, weights_digest
from workbench.config.plugins import Plugin, installed_plugins
from workbench.config.run import Run
from workbench.config.schema import MonitorSchema, RolloutSchema, Schema, refuse_name

__all__ = [
    "ZOO",
    "MonitorSchema",
    "Plugin",
    "RolloutSchema",
    "Run",
    "Schema",
    "build",
    "building",
    "check_arguments",
    "command_asked",
    "command_line",
    "compose",
    "ctrl_c_held_back",
    "data_path",
    "described",
    "digest",
    "hash_file",
    "hydra_words",
    "installed_plugins",
    "job_of",
    "made",
    "made_policy",
    "options_of",
    "origin_of",
    "parameters_of",
    "plain",
    "prepare_hydra",
    "put",
    "read_yaml",
    "refuse_name",
    "remove",
    "replacing",
    "resolve",
    "root_folder",
    "shown",
    "weights_digest",
    "words_asked",
    "write_bytes",
    "write_text",
]
