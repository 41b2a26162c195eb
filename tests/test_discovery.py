"""Where transcripts are looked for, what is taken for one, and whose it is."""

from __future__ import annotations

import inspect
import os
import re
import shutil
import time
from importlib import import_module
from pathlib import Path
from pkgutil import walk_packages
from typing import Any

import pytest

import decklog
from decklog import agents, config, sources
from decklog.agents import Agent, Claim, Root
from decklog.agents._shared import to_ms
from decklog.errors import FormatError, NotFound
from decklog.testing import assert_agent, observe

HERE = Path(__file__).parent / "agents"
USER = '{"type":"user","sessionId":"%s","uuid":"u","timestamp":"2026-11-01T10:00:00.000Z",' \
       '"cwd":"/home/dev/x","message":{"role":"user","content":"hello"}}\n'  # fmt: skip


def claude_file(home: Path, name: str = "s1", folder: str = ".claude/projects/-x") -> Path:
    path = home / folder / f"{name}.jsonl"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(USER % name)
    return path


@pytest.mark.spec("A11", "A12")
def test_agents_are_searched_below_their_own_folders_in_one_order(home: Path) -> None:
    env = {"HOME": str(home)}
    first = [a.roots(env)[0].path for a in agents.every()[:3]]
    assert first == [f"{home}/.claude/projects", f"{home}/.codex/sessions", f"{home}/.gemini/tmp"]
    assert sources.find(Root(str(home / "nowhere"))) == []


@pytest.mark.spec("A13", "A14", "A17", "A18")
@pytest.mark.parametrize(
    ("agent", "relative", "claim"),
    [
        ("claude", "test/session.jsonl", "jsonl"),
        ("claude", "test/session.jsonl.zst", "jsonl"),
        ("codex", "2026/06/02/rollout-2026-06-02T10-00-00-x.jsonl", "jsonl"),
        ("codex", "2026/06/02/rollout-2026-06-02T10-00-00-x.jsonl.zst", "jsonl"),
        ("gemini", "test/chats/session-test.json", "json"),
        ("gemini", "test/chats/session-test.jsonl", "jsonl"),
        ("gemini", "test/logs.json", "ignore"),
        ("copilot", "abc/events.jsonl", "jsonl"),
    ],
)
def test_claims(agent: str, relative: str, claim: Claim | None) -> None:
    assert agents.get(agent).claim(relative) == claim


@pytest.mark.spec("A17")
def test_an_unknown_agent_is_not_found() -> None:
    with pytest.raises(NotFound, match="no agent 'nobody'"):
        agents.get("nobody")


@pytest.mark.spec("A15", "A16", "R73")
def test_what_is_found_says_whose_where_when_and_how_much(env: dict[str, str], home: Path) -> None:
    path = claude_file(home)
    (seen,) = sources.find(Root(str(home / ".claude/projects")))
    assert (seen.path, seen.size) == (str(path), path.stat().st_size)
    assert seen.mtime_ns == path.stat().st_mtime_ns
    with decklog.open(env=env) as deck:
        deck.sync()
        (row,) = deck.overview()
        assert (row["agent"], row["sources"], row["bytes"]) == ("claude", 1, path.stat().st_size)
        assert next(deck.sessions()).sources == (str(path),)


@pytest.mark.spec("A10")
def test_under_sudo_the_callers_home_is_searched(tmp_path: Path) -> None:
    passwd = tmp_path / "passwd"
    passwd.write_text("root:x:0:0:root:/root:/bin/sh\nann:x:1000:1000:Ann:/home/ann:/bin/sh\n")
    home = config._sessions_home
    assert home({"HOME": "/root", "SUDO_USER": "ann"}, str(passwd)) == "/home/ann"
    assert home({"HOME": "/root", "SUDO_USER": "bob"}, str(passwd)) == "/root"
    assert home({"HOME": "/root"}, str(passwd)) == "/root"
    assert home({"HOME": "/root", "SUDO_USER": "ann"}, str(tmp_path / "no")) == "/root"


@pytest.mark.spec("AW14")
def test_variables_move_roots(home: Path, env: dict[str, str]) -> None:
    claude_file(home, "one", "elsewhere/projects/-x")
    env["CLAUDE_CONFIG_DIR"] = str(home / "elsewhere")
    with decklog.open(env=env) as deck:
        deck.sync()
        assert [s.native for s in deck.sessions()] == ["one"]
        # without the variable the same store looks where it always did
        del env["CLAUDE_CONFIG_DIR"]
    claude_file(home, "two")
    with decklog.open(env=env) as deck:
        assert not deck.unchanged()
        deck.sync()
        assert {s.native for s in deck.sessions()} == {"one", "two"}
        assert {s.native for s in deck.sessions() if s.gone} == {"one"}


@pytest.mark.spec("AW14", "R37")
def test_links_are_followed_once_and_circles_end(home: Path, env: dict[str, str]) -> None:
    outside = home / "outside"
    outside.mkdir()
    (outside / "far.jsonl").write_text(USER % "far")
    projects = claude_file(home).parent.parent
    (projects / "-link").symlink_to(outside)
    (projects / "-again").symlink_to(outside)
    (projects / "-x" / "circle").symlink_to(projects)
    (projects / "-x" / "self").symlink_to(projects / "-x" / "self")
    with decklog.open(env=env) as deck:
        deck.sync()
        assert sorted(s.native for s in deck.sessions()) == ["far", "s1"]


@pytest.mark.spec("A20", "A22")
def test_one_file_by_its_path(home: Path) -> None:
    events = list(decklog.read(claude_file(home)))
    assert [type(e).__name__ for e in events] == ["SessionStarted", "UserMessage"]
    odd = home / "notes.txt"
    odd.write_text("hello\n")
    with pytest.raises(FormatError):
        list(decklog.read(odd))
    with pytest.raises(NotFound):
        list(decklog.read(home / "nowhere.jsonl"))


@pytest.mark.spec("A61", "R46")
@pytest.mark.parametrize(
    ("text", "ms"),
    [
        ("2026-11-01T10:00:00.250Z", 1793527200250),
        ("2026-11-01T12:00:00.250+02:00", 1793527200250),
        ("2026-11-01T10:00:00Z", 1793527200000),
        ("2026-11-01T10:00:00.250", None),
        ("1970-01-01T00:00:00.000Z", None),
        ("2026-11-01T10:00:xx.250Z", None),
        ("yesterday", None),
        ("", None),
    ],
)
def test_times_count_only_with_their_offset(text: str, ms: int | None) -> None:
    assert to_ms(text) == ms
    assert to_ms(text) == ms  # the second look comes from the memory of minutes


@pytest.mark.spec("AW11", "A32")
def test_a_session_spans_its_earliest_and_latest_record(home: Path, env: dict[str, str]) -> None:
    path = claude_file(home)
    lines = [USER.replace("10:00:00", t) % "s1" for t in ("12:00:00", "09:30:00", "11:00:00")]
    path.write_text("".join(line.replace('"u"', f'"u{i}"') for i, line in enumerate(lines)))
    with decklog.open(env=env) as deck:
        deck.sync()
        session = deck.session("s1")
        assert session.started_at == to_ms("2026-11-01T09:30:00.000Z")
        assert session.last_at == to_ms("2026-11-01T12:00:00.000Z")


@pytest.mark.spec("AW16", "A27", "AW15", "A23")
def test_ids_that_look_alike_stay_apart(home: Path, env: dict[str, str]) -> None:
    names = [f"abcdef-{n:04d}-0000-xyzzy" for n in range(40)]
    for name in names:
        claude_file(home, name)
    with decklog.open(env=env) as deck:
        deck.sync()
        assert sorted(s.native for s in deck.sessions()) == names
        assert deck.session(names[7]).native == names[7]
        with pytest.raises(decklog.DecklogError, match="may mean 40 sessions"):
            deck.session("abcdef")


@pytest.mark.spec("R71")
def test_a_path_in_a_record_is_never_opened(home: Path, env: dict[str, str]) -> None:
    secret = home / "secret"
    secret.write_text("do not read")
    path = claude_file(home)
    result = f'{{"type":"tool_result","tool_use_id":"t","content":"<persisted-output>{secret}"}}'
    with path.open("a") as f:
        f.write(USER.replace('"hello"', f"[{result}]") % "s1")
    read = secret.stat().st_atime_ns
    with decklog.open(env=env) as deck:
        deck.sync()
        text = "".join(str(e) for e in deck.events("s1"))
    assert str(secret) in text
    assert "do not read" not in text
    assert secret.stat().st_atime_ns == read


@pytest.mark.spec("R107")
def test_wildcards_in_questions_are_plain_text(home: Path, env: dict[str, str]) -> None:
    claude_file(home)
    with decklog.open(env=env) as deck:
        deck.sync()
        for text in ("%", "_1", "s%", "' or 1=1 --", 'x"; drop table session; --'):
            with pytest.raises(NotFound):
                deck.session(text)
            assert list(deck.sessions(projects=(text,))) == []
        assert len(list(deck.sessions(projects=("dev/x",)))) == 1


def _patterns() -> list[tuple[str, re.Pattern[str]]]:
    found = []
    for info in walk_packages(agents.__path__, "decklog.agents."):
        module = import_module(info.name)
        found += [(f"{info.name}.{n}", p) for n, p in vars(module).items()
                  if isinstance(p, re.Pattern) and isinstance(p.pattern, str)]  # fmt: skip
    return found


@pytest.mark.spec("R57")
@pytest.mark.parametrize(("name", "pattern"), _patterns())
def test_patterns_run_in_linear_time(name: str, pattern: re.Pattern[str]) -> None:
    small, large = 5_000, 40_000
    for seed in (
        "a",
        " ",
        "<",
        "(",
        "reset at ",
        "*** Update File: ",
        "<command-name>",
        "|1",
        "/.",
    ):
        for tries in (1, 3, 9):  # a busy machine may hold up any of them
            times = [
                min(_seconds(pattern, (seed * size)[:size] + "!") for _ in range(tries))
                for size in (small, large)
            ]
            # eight times the text: a quadratic pattern would take 64 times as long
            if times[1] < 0.05 or times[1] < 30 * times[0]:
                break
        else:
            pytest.fail(f"{seed!r}: {times}")


def _seconds(pattern: re.Pattern[str], text: str) -> float:
    began = time.process_time()
    for _ in pattern.finditer(text):
        pass
    return time.process_time() - began


class Toy(Agent):
    """An agent of a stranger, as short as one can be."""

    name, title, provider = "toy", "Toy", "nobody"

    def roots(self, env: Any) -> tuple[Root, ...]:
        return (Root(f"{env['HOME']}/.toy"),)

    def claim(self, relative: str) -> Claim | None:
        return "jsonl" if relative.endswith(".log") else None

    def reader(self, cursor: Any = None, *, text: bool = True, companions: Any = None) -> Any:
        return agents.get("claude").reader(cursor, text=text, companions=companions)


def test_agents_of_strangers_come_through_the_same_door(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, accept: bool
) -> None:
    monkeypatch.setattr(agents, "_entry_points", lambda: {"toy": lambda: Toy, "bad": _broken})
    monkeypatch.setattr(agents, "_loaded", {})
    monkeypatch.setattr(agents, "installed", None)
    assert isinstance(agents.get("toy"), Toy)
    assert [a.name for a in agents.every()][-1] == "toy"
    assert "boom" in agents.broken["bad"]
    home = tmp_path / "one" / "input"
    (home / ".toy").mkdir(parents=True)
    (home / ".toy" / "x.log").write_text(USER % "s1")
    seen = observe(Toy(), home)
    assert list(seen[".toy/x.log"]["facts"]) == ["s1"]


def _broken() -> object:
    raise RuntimeError("boom")


def test_nothing_outside_an_agents_own_room_asks_for_it_by_name() -> None:
    package = Path(decklog.__file__).parent
    words = "|".join(agents.BUILT_IN)
    asks = re.compile(rf"agent(?:\.name|\[.name.\])? *(?:==|!=|in) *[(\[]?[\"'](?:{words})[\"']")
    for path in package.rglob("*.py"):
        if "agents" not in path.relative_to(package).parts[:1]:
            assert not asks.search(path.read_text()), path
    assert asks.search("if agent == 'claude':")


def test_every_agent_is_described() -> None:
    notes = Path(__file__).parent.parent / "docs" / "formats"
    for a in agents.every():
        assert (notes / f"{a.name}.md").exists()
        assert a.title
        assert inspect.getdoc(type(a).roots)


def test_laws_fail_for_a_reader_that_breaks_them(tmp_path: Path) -> None:
    class Forgetful(Toy):
        def reader(self, cursor: Any = None, *, text: bool = True, companions: Any = None) -> Any:
            return super().reader(None, text=text, companions=companions)

    home = tmp_path / "one" / "input"
    shutil.copytree(HERE / "claude" / "streamed" / "input", home)
    os.rename(home / ".claude", home / ".toy")
    for path in (home / ".toy").rglob("*.jsonl"):
        path.rename(path.with_suffix(".log"))
    with pytest.raises(AssertionError, match="cut every 1 lines"):
        assert_agent(Forgetful(), tmp_path)
