"""Messages of errors are for people: bounded, and the end says what to do."""

from __future__ import annotations

import copy

import pytest

from workbench.errors import (
    MOST_LETTERS,
    CheckpointError,
    ConfigError,
    OtherSettingsError,
    StoreError,
    UnknownNameError,
)


@pytest.mark.parametrize("kind", [ConfigError, StoreError, OtherSettingsError, CheckpointError])
def test_a_long_message_is_cut_in_its_middle_and_so_is_its_copy(kind):
    error = kind("asked for " + "9, " * 10_000 + "; take another one")
    for said in (str(error), str(copy.copy(error))):
        assert len(said) == MOST_LETTERS
        assert said.startswith("asked for 9")
        assert said.endswith("; take another one")


def test_many_known_names_are_cut_too():
    assert len(str(UnknownNameError("key", "x", [f"name{number}" for number in range(5000)]))) == MOST_LETTERS


def test_a_message_of_common_length_stands_as_it_is():
    assert str(StoreError("short; do this")) == "short; do this"


@pytest.mark.parametrize("letter", ["\n", "\r\n", "\t", "\x1b", "\x00", "\u202e", "\u2028", "\u0085", "\ud800"])
def test_a_message_is_one_line_that_can_be_printed(letter):
    for error in (ConfigError(f"key={letter} cannot be read"), UnknownNameError("key", letter, ["seed"])):
        assert str(error).isprintable()
        str(error).encode()
    assert str(ConfigError("name  with two spaces, josé, 日本")) == "name  with two spaces, josé, 日本"
