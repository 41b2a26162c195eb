"""Settings: flag before variable before file before default, each with its origin."""

from __future__ import annotations

import os
import pwd
import sys
from pathlib import Path

import pytest

from decklog import config
from decklog.errors import UsageError


def load(env: dict[str, str], **flags: object) -> config.Config:
    return config.load(env, flags)


@pytest.fixture
def file(env: dict[str, str]) -> Path:
    path = Path(env["DECKLOG_HOME"]) / "config.toml"
    path.parent.mkdir(parents=True)
    return path


def test_defaults(env: dict[str, str]) -> None:
    found = load(env)
    assert (found.tz, found.jobs, found.sync) == ("", 0, True)
    assert set(found.origins.values()) == {"default"}
    assert found.data_dir == env["DECKLOG_HOME"]
    assert found.env["HOME"] == env["HOME"]


def test_each_place_overrules_the_next(env: dict[str, str], file: Path) -> None:
    file.write_text('tz = "Asia/Tokyo"\njobs = 3\nsync = false\n')
    found = load({**env, "DECKLOG_JOBS": "2", "DECKLOG_SYNC": "yes"}, sync=False)
    assert (found.tz, found.jobs, found.sync) == ("Asia/Tokyo", 2, False)
    origins = {
        "tz": str(file), "jobs": "DECKLOG_JOBS", "sync": "--sync", "archive": "default",
        "relay": "default",
    }  # fmt: skip
    assert found.origins == origins


def test_a_flag_that_is_not_given_and_an_empty_variable_say_nothing(
    env: dict[str, str], file: Path
) -> None:
    file.write_text("jobs = 3\n")
    found = load({**env, "DECKLOG_JOBS": ""}, jobs=None, tz=None)
    assert (found.jobs, found.origins["jobs"]) == (3, str(file))


@pytest.mark.parametrize(
    ("text", "value"), [("1", True), ("TRUE", True), ("on", True), ("0", False), ("No", False)]
)
def test_words_for_yes_and_no(env: dict[str, str], text: str, value: bool) -> None:
    assert load({**env, "DECKLOG_SYNC": text}).sync is value


@pytest.mark.spec("R12")
@pytest.mark.parametrize(
    ("variables", "toml", "words"),
    [
        ({"DECKLOG_JOBS": "many"}, "", ("DECKLOG_JOBS", "many")),
        ({"DECKLOG_JOBS": "1.5"}, "", ("DECKLOG_JOBS", "1.5")),
        ({"DECKLOG_SYNC": "maybe"}, "", ("DECKLOG_SYNC", "maybe")),
        ({}, 'jobs = "3"', ("config.toml", "jobs", "int", "'3'")),
        ({}, "jobs = true", ("config.toml", "jobs", "int")),
        ({}, "sync = 1", ("config.toml", "sync", "bool")),
        ({}, "tz = 3", ("config.toml", "tz", "str")),
        ({}, "job = 3", ("config.toml", "'job'")),
        ({}, "[server]\nport = 1", ("config.toml", "'server'")),
        ({}, "jobs = ", ("config.toml",)),
        ({}, "tz = 'a'\ntz = 'b'", ("config.toml",)),
    ],
)
def test_what_is_wrong_is_refused_with_its_place(
    env: dict[str, str], file: Path, variables: dict[str, str], toml: str, words: tuple[str, ...]
) -> None:
    file.write_text(toml)
    with pytest.raises(UsageError) as caught:
        load({**env, **variables})
    assert all(word in str(caught.value) for word in words)
    assert caught.value.exit_code == 2


def test_an_unknown_key_comes_with_the_known_ones(env: dict[str, str], file: Path) -> None:
    file.write_text("tzz = 'UTC'")
    with pytest.raises(UsageError, match="unknown key 'tzz'") as caught:
        load(env)
    assert all(name in caught.value.hint for name in config.SETTINGS)


def test_a_file_that_cannot_be_read_is_refused(env: dict[str, str], file: Path) -> None:
    file.mkdir()
    with pytest.raises(UsageError, match=r"config\.toml"):
        load(env)
    file.rmdir()
    file.write_bytes(b"tz = '\xff'")
    with pytest.raises(UsageError, match=r"config\.toml"):
        load(env)


# --- places ---------------------------------------------------------------------------------------


@pytest.mark.skipif(sys.platform == "darwin", reason="macOS has places of its own")
def test_places_follow_the_base_directories() -> None:
    assert config.places({"HOME": "/h"}) == (
        "/h/.local/share/decklog", "/h/.config/decklog/config.toml",
    )  # fmt: skip
    moved = {"HOME": "/h", "XDG_DATA_HOME": "/d", "XDG_CONFIG_HOME": "/c"}
    assert config.places(moved) == ("/d/decklog", "/c/decklog/config.toml")
    assert config.places({**moved, "DECKLOG_HOME": "/own"}) == ("/own", "/own/config.toml")
    assert config.places({**moved, "XDG_DATA_HOME": "", "DECKLOG_HOME": ""})[0] == (
        "/h/.local/share/decklog"
    )


def test_our_own_home_may_be_relative_or_begin_with_a_tilde(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", "/h")
    assert config.places({"HOME": "/h", "DECKLOG_HOME": "own"})[0] == str(tmp_path / "own")
    assert config.places({"HOME": "/h", "DECKLOG_HOME": "~/own"})[0] == "/h/own"


@pytest.mark.spec("A10")
def test_under_sudo_the_sessions_are_those_of_the_caller(env: dict[str, str]) -> None:
    someone = pwd.getpwuid(os.getuid())
    found = load({**env, "SUDO_USER": someone.pw_name})
    assert found.env["HOME"] == someone.pw_dir
    assert found.data_dir == env["DECKLOG_HOME"]
    assert load({**env, "SUDO_USER": "nobody-by-that-name"}).env["HOME"] == env["HOME"]


def test_the_environment_that_was_given_is_left_alone(env: dict[str, str]) -> None:
    before = dict(env)
    load(env)
    load({k: v for k, v in env.items() if k != "HOME"})
    assert env == before
