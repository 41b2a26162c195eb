"""Search: what people type, what is found, what is shown of it."""

from __future__ import annotations

import contextlib
import json
import random
import re
import shutil
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import zstandard
from hypothesis import given, settings
from hypothesis import strategies as st

from decklog import hub, transcripts
from decklog.errors import NotFound, UsageError
from decklog.model import Hit
from decklog.search import grammar
from decklog.search.patterns import Pattern
from decklog.store.text.documents import Documents
from homes import Claude, Codex, Synced, clean

HERE = Path(__file__).parent / "agents"


@pytest.fixture(scope="module")
def everything(tmp_path_factory: pytest.TempPathFactory) -> Iterator[hub.Decklog]:
    """A deck over the transcripts of all situations of all agents in one HOME."""
    folder = tmp_path_factory.mktemp("everything")
    home = folder / "home"
    for situation in sorted(HERE.glob("*/*/input")):
        shutil.copytree(situation, home, dirs_exist_ok=True)
    with Synced(home, folder / "own") as made:
        made.sync()
        yield made.deck


Texts = dict[tuple[str, int], str]


@pytest.fixture(scope="module")
def texts(everything: hub.Decklog) -> Texts:
    """Every text there is, by session and number of the event: read without the index."""
    found: Texts = {}
    store = everything.store
    for uri, agent, kind, source in store.db.execute(
        "select uri, agent, kind, id from source where kind not in ('other', 'companion')"
    ).fetchall():
        parts = dict(
            store.db.execute(
                "select session, part from part where source = ? and not superseded", (source,)
            )
        )
        if not parts:
            continue
        for event in transcripts.of_source({"agent": agent, "uri": uri, "kind": kind}):
            if event.session in parts:
                one = Documents()
                one.add([event])
                for d in one.taken():
                    number = d.seq + store.shift(event.session, source)
                    found[event.session, number] = f"{d.text}\n\n{d.paths}"
    return found


def places(deck: hub.Decklog, query: str, **more: Any) -> set[tuple[str, int]]:
    """All places that answer a query, page by page; titles left out."""
    found: list[Hit] = []
    after = None
    while True:
        page = deck.search(query, limit=50, after=after, **more)
        found += page.hits
        after = page.next
        if after is None:
            break
    keys = [(h.at if h.at is not None else -1, h.session) for h in found]
    assert [k[0] for k in keys] == sorted((k[0] for k in keys), reverse=True)
    assert len({(h.id, h.kind) for h in found}) == len(found), "a place twice"
    return {(h.session, h.seq) for h in found if h.kind != "title"}


def words(text: str) -> list[str]:
    return re.findall(r"[^\W_]+", text.lower())


# --- recall -------------------------------------------------------------------------------------


@pytest.mark.spec("R106")
def test_every_word_is_found_wherever_it_is(everything: hub.Decklog, texts: Texts) -> None:
    by_word: dict[str, set[tuple[str, int]]] = {}
    for place, text in texts.items():
        if text.isascii():
            for word in words(text):
                by_word.setdefault(word, set()).add(place)
    plain = {p for p, t in texts.items() if t.isascii()}
    rng = random.Random(1)
    chosen = rng.sample(sorted(by_word), 120)
    chosen += sorted(by_word, key=lambda w: -len(by_word[w]))[:8]
    for word in chosen:
        found = places(everything, f'"{word}"')
        assert found & plain == by_word[word], word
        assert everything.search_count(f'"{word}"') >= len(by_word[word])


def test_phrases_are_found_and_only_where_the_words_stand_side_by_side(
    everything: hub.Decklog, texts: Texts
) -> None:
    plain = {}
    for p, text in texts.items():
        if text.isascii():
            said, _, paths = text.rpartition("\n\n")
            plain[p] = f"{' '.join(words(said))} | {' '.join(words(paths))}"
    rng = random.Random(2)
    for _ in range(40):
        place = rng.choice(sorted(p for p, t in plain.items() if t.find(" |") > 30))
        text = plain[place].partition(" |")[0].split()
        start = rng.randrange(len(text) - 2)
        phrase = " ".join(text[start : start + 3])
        expected = {p for p, t in plain.items() if f" {phrase} " in f" {t} "}
        found = places(everything, f'"{phrase}"') & plain.keys()
        assert found == expected, phrase


def test_what_must_not_be_there_and_either_and_beginnings(
    everything: hub.Decklog, texts: Texts
) -> None:
    plain = {p: set(words(t)) for p, t in texts.items() if t.isascii()}

    def where(test: Any) -> set[tuple[str, int]]:
        return {p for p, ws in plain.items() if test(ws)}

    def asked(query: str) -> set[tuple[str, int]]:
        return places(everything, query) & plain.keys()

    assert asked("the -file") == where(lambda ws: "the" in ws and "file" not in ws)
    assert asked("hello OR file") == where(lambda ws: ws & {"hello", "file"})
    assert asked("the hello OR file") == where(lambda ws: "the" in ws and ws & {"hello", "file"})
    assert asked("fi*") == where(lambda ws: any(w.startswith("fi") for w in ws))


# --- fields -------------------------------------------------------------------------------------


def test_roles_tools_and_files(everything: hub.Decklog) -> None:
    kinds = {
        "user": {"user_message"},
        "assistant": {"assistant_message", "reasoning"},
        "tool": {"tool_call", "tool_result"},
        "reasoning": {"reasoning"},
        "title": {"title"},
    }
    for role, expected in kinds.items():
        page = everything.search(f"role:{role}", limit=500)
        assert {h.kind for h in page.hits} <= expected
        assert page.hits, role
        if role != "reasoning":
            assert {h.role for h in page.hits} == {role}
        assert page.hits == everything.search("", roles=[role], limit=500).hits
    shell = everything.search("tool:bash", agents=["claude"], limit=500).hits
    assert {h.tool for h in shell} == {"Bash"}
    assert {h.kind for h in shell} == {"tool_call", "tool_result"}
    assert {h.tool for h in everything.search("tool:SHELL", limit=500).hits} >= {"Bash"}
    files = everything.search("file:hello.py", limit=100).hits
    assert files
    for hit in files:
        event = everything.around(hit.session, hit.seq)[0]
        assert any("hello.py" in p for p in event.paths)


def test_filters_narrow_by_session_and_time(everything: hub.Decklog) -> None:
    every = everything.search("the", limit=1_000).hits
    for agent in {h.agent for h in every}:
        some = everything.search("the", agents=[agent], limit=1_000).hits
        assert [h for h in every if h.agent == agent] == list(some)
        assert list(some) == list(everything.search(f"the agent:{agent}", limit=1_000).hits)
    times = sorted(h.at for h in every if h.at is not None)
    middle = times[len(times) // 2]
    later = everything.search("the", since=middle, limit=1_000).hits
    earlier = everything.search("the", until=middle, limit=1_000).hits
    assert [h for h in every if h.at is not None and h.at >= middle] == list(later)
    assert {h.id for h in earlier} == {h.id for h in every if h.at is None or h.at < middle}
    assert everything.search_count("the", since=middle) == len(later)


def test_best_first_has_the_same_places_in_another_order(everything: hub.Decklog) -> None:
    newest = everything.search("file", limit=1_000).hits
    best = everything.search("file", limit=1_000, best=True).hits
    assert {h.id for h in newest} == {h.id for h in best}
    scores = [h.score for h in best]
    assert scores == sorted(scores, reverse=True)  # type: ignore[type-var]
    first = everything.search("file", limit=7, best=True)
    second = everything.search("file", limit=7, best=True, after=first.next)
    assert [h.id for h in best[:14]] == [h.id for h in (*first.hits, *second.hits)]


# --- what is shown ------------------------------------------------------------------------------


def test_snippets_hold_the_match_and_the_place_opens(everything: hub.Decklog, texts: Texts) -> None:
    for query in ("hello", "file", '"the file"', "hello.py", "error"):
        for hit in everything.search(query, limit=60).hits:
            assert hit.stale == ""
            assert hit.marks, hit
            wanted = words(query)
            for a, b in hit.marks:
                assert words(hit.snippet[a:b]) == wanted
            if hit.kind != "title":
                event = everything.around(hit.session, hit.seq)[0]
                assert event.at == hit.at
                assert hit.id == f"{event.session}#{event.seq}"


@pytest.mark.parametrize("archive", [True, False])
def test_a_place_whose_source_changed_says_so(tmp_path: Path, archive: bool) -> None:
    home = tmp_path / "home"
    talk, gone = Claude("talk"), Codex("019b7000-0000-7000-8000-000000000001")
    for made, text in ((talk, "marmalade sandwich"), (gone, "marmalade toast")):
        made.prompt(text)
        made.write(home)
    with Synced(home, tmp_path / "own", archive=archive) as deck:
        deck.sync()
        path = home / talk.path
        path.write_bytes(path.read_bytes().replace(b"marmalade sandwich", b"strawberry sundaes"))
        (home / gone.path).unlink()
        for synced in (False, True):
            hits = deck.deck.search("marmalade").hits
            told = {(h.agent, h.stale != "", h.snippet) for h in hits}
            before = ("claude", True, "")
            rewritten = (
                before if not (synced and archive) else ("claude", False, "marmalade sandwich")
            )
            kept = ("codex", False, "marmalade toast") if archive else ("codex", True, "")
            assert told == {rewritten, kept}
            scanned = deck.deck.scan_rows("marmalade (sand|toast)")["hits"]
            expected = {t[2] for t in told if t[2]}
            assert {h["snippet"] for h in scanned} == expected
            deck.sync()


def test_scripts_without_spaces_and_accents(tmp_path: Path) -> None:
    home = tmp_path / "home"
    talk = Claude("talk")
    said = "한국어로 검색합니다 世界你好，テスト中です — Größe naïve Ελληνικά 😀 ภาษาไทย"
    talk.prompt(said)
    talk.write(home)
    with Synced(home, tmp_path / "own") as deck:
        deck.sync()
        for query in (
            "검색",
            "你好",
            "世界",
            "テスト",
            "grosse",
            "größe",
            "NAIVE",
            "ΕΛΛΗΝΙΚΆ",
            "ไทย",
        ):
            page = deck.deck.search(query)
            assert len(page.hits) == (query != "grosse"), query
            if not page.hits:
                continue
            (hit,) = page.hits
            ((a, b),) = hit.marks
            assert hit.snippet[a:b].lower() in said.lower()
            assert len(hit.snippet[a:b]) == len(query)
        with pytest.raises(UsageError, match="no letter"):
            deck.deck.search("😀")


def test_long_texts_and_encoded_data(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("decklog.store.text.documents.MAX_TEXT", 5_000)
    home = tmp_path / "home"
    talk = Claude("talk")
    talk.prompt("beginning " + "filler " * 2_000 + "conclusion")
    talk.prompt("before " + "QUJDREVGRw" * 300 + " after")
    talk.write(home)
    with Synced(home, tmp_path / "own") as deck:
        report = deck.sync()
        assert report.shortened == 1
        found = {q: len(deck.deck.search(q).hits) for q in ("beginning", "conclusion", "after")}
        assert found == {"beginning": 1, "conclusion": 0, "after": 1}
        assert not deck.deck.search("QUJDREVGRw*").hits


# --- what people type -----------------------------------------------------------------------------


@pytest.mark.spec("R106")
@settings(max_examples=400, deadline=None)
@given(st.text(max_size=40) | st.text(alphabet="ab\"-*: OR()^{}\\\0'+;,.", max_size=30))
def test_any_text_is_an_answer_or_a_usage_error(everything: hub.Decklog, text: str) -> None:
    with contextlib.suppress(UsageError):
        everything.search(text, limit=3)


@pytest.mark.spec("R106")
@pytest.mark.parametrize(
    ("query", "message"),
    [
        ('say "hello', "character 5: this quotation mark has no other end"),
        ("a OR", "character 3: OR has nothing after it"),
        ("OR a", "character 1: OR has nothing before it"),
        ("a OR -b", "character 6: OR cannot stand before"),
        ("->", "character 1: '->' holds no letter or digit"),
        ("-gone", "only says what must not be there"),
        ("", "the query is empty"),
        ("role:nobody x", "character 1: no role 'nobody'"),
        ("x -agent:claude", "character 3: -agent: is not possible"),
        ("x since:whenever", "whenever"),
        ("x " * 70, "more than 64 words"),
        ("x" * 5_000, "5,000 characters long"),
    ],
)
def test_what_cannot_be_meant_is_an_error_with_its_place(
    everything: hub.Decklog, query: str, message: str
) -> None:
    with pytest.raises(UsageError, match=re.escape(message)):
        everything.search(query)


def test_an_agent_that_is_not_known_is_an_error(everything: hub.Decklog) -> None:
    with pytest.raises(NotFound, match="no agent 'nobody'"):
        everything.search("agent:nobody file")


def test_text_with_signs_is_text() -> None:
    for text in ("foo-bar", "don't", "a:b", "50%", "--no-sync", "f(x)", "C:\\x", 'say"so'):
        (group,) = grammar.parse(text).groups
        assert [(t.text, t.field, t.negative) for t in group] == [(text, "", False)]


def test_a_page_that_is_none_of_ours(everything: hub.Decklog) -> None:
    page = everything.search("the", limit=2)
    for after in ("x", "####", page.next):
        with pytest.raises(UsageError, match="no page begins there"):
            everything.search("the", after=after, best=True)


def test_a_place_that_is_not_there(everything: hub.Decklog) -> None:
    (hit,) = everything.search("the", limit=1).hits
    with pytest.raises(NotFound):
        everything.around(hit.session, 9_999_999)


# --- regular expressions --------------------------------------------------------------------------


@pytest.mark.spec("R57")
@pytest.mark.parametrize(
    "pattern", [r"(a+)+b", r"(a*)*", r"(a)\1", r"(?=a)b", r"(?<!a)b", r".*" * 11 + "x", r"a{5000}"]
)
def test_patterns_that_may_take_for_ever_are_refused(pattern: str) -> None:
    with pytest.raises(UsageError, match="may take for ever"):
        Pattern(pattern)


@pytest.mark.parametrize("pattern", ["[", "(", "a**", "", "x" * 2_000, "(?P<a>", "[[:alpha:]]"])
def test_what_is_no_pattern_is_a_usage_error(pattern: str) -> None:
    with pytest.raises(UsageError):
        Pattern(pattern)


@pytest.mark.parametrize(
    ("pattern", "literal"),
    [
        (r"hello world", b"hello world"),
        (r"hel+o wor", b"o wor"),
        (r"(?i)Hello", b"hello"),
        (r"(abc|def)x", b"x"),
        (r"a\d+longest\w*", b"longest"),
        (r"(begin)end", b"begin"),
        (r"x?y*", b""),
        (r'say "hi"', b"say "),
    ],
)
def test_what_every_match_has_to_hold(pattern: str, literal: bytes) -> None:
    assert Pattern(pattern).literal == literal


def test_a_scan_finds_what_the_pattern_matches(everything: hub.Decklog, texts: Texts) -> None:
    for pattern in (r"fi[lx]e", r"(?i)HELLO", r"note\w*\.txt", r"\bthe\b"):
        found = everything.scan_rows(pattern, limit=1_000)
        assert found["slow"] == 0
        ids = {(h["session"], h["seq"]) for h in found["hits"]}
        expected = {p for p, t in texts.items() if re.search(pattern, t)}
        assert expected, pattern
        sessions = {s for s, _ in expected}
        assert sessions <= {s for s, _ in ids}, pattern
        for hit in found["hits"]:
            for a, b in hit["marks"]:
                assert re.search(pattern, hit["snippet"][a:b])
    times = [h["at"] or -1 for h in everything.scan_rows("the", limit=50)["hits"]]
    assert times == sorted(times, reverse=True)


@pytest.mark.spec("R57")
def test_a_match_that_takes_too_long_is_given_up_on(tmp_path: Path) -> None:
    home = tmp_path / "home"
    talk = Claude("talk")
    talk.prompt("needle " + "a" * 60_000 + "!")
    talk.prompt("needle b")
    talk.write(home)
    with Synced(home, tmp_path / "own") as deck:
        deck.sync()
        found = deck.deck.scan_rows(r"needle a*[ab]*a*c|needle b", limit=5)
        assert found["slow"] == 1
        assert [h["snippet"] for h in found["hits"]] == ["needle b"]


@pytest.mark.spec("R57")
def test_a_scan_of_what_is_too_slow_everywhere_ends(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("decklog.search.scanning.MAX_SLOW", 2)
    home = tmp_path / "home"
    talk = Claude("talk")
    for _ in range(4):
        talk.prompt("needle " + "a" * 60_000 + "!")
    talk.write(home)
    with Synced(home, tmp_path / "own") as deck:
        deck.sync()
        found = deck.deck.scan_rows(r"needle a*[ab]*a*c", limit=5)
        assert (found["slow"], found["ended"], found["hits"]) == (2, True, [])


def test_a_scan_finds_each_place_and_only_what_was_said(tmp_path: Path) -> None:
    home = tmp_path / "home"
    talk = Claude("talk")
    talk.prompt("登录页面 at 192.168.10.254 half a \\ud800 character")
    talk.write(home)
    (path,) = home.rglob("*.jsonl")
    record = json.loads(path.read_bytes().splitlines()[-1])
    calls = [
        {"type": "tool_use", "id": f"t{i}", "name": name, "input": {"command": f"marmalade {i}"}}
        for i, name in enumerate(("Bash", "Grep"))
    ]
    record |= {"type": "assistant", "uuid": "two-calls"}
    record["message"] = {
        "id": "msg_two_calls", "role": "assistant", "model": "claude-sonnet-4-5", "content": calls,
    }  # fmt: skip
    whole = path.read_bytes().replace(rb"\\ud800", rb"\ud800") + json.dumps(record).encode() + b"\n"
    with Synced(home, tmp_path / "own") as deck:
        for packed in (False, True):
            if packed:
                path.unlink()
                path = path.with_suffix(".jsonl.zst")
            path.write_bytes(zstandard.compress(whole) if packed else whole)
            deck.sync()

            def hits(pattern: str) -> list[tuple[str, str]]:
                rows = deck.deck.scan_rows(pattern, limit=10)["hits"]
                return [(r["tool"] or r["role"], r["snippet"][slice(*r["marks"][0])]) for r in rows]

            assert sorted(hits("marmalade .")) == [("Bash", "marmalade 0"), ("Grep", "marmalade 1")]
            assert hits(r"\d+\.\d+\.\d+\.\d+") == [("user", "192.168.10.254")]
            assert hits("half a . char") == [("user", "half a \ufffd char")]
            assert hits("录页") == [("user", "录页")]
            assert hits("msg_two|two-calls|sonnet") == []
            (hit,) = deck.deck.search("录页").hits
            assert hit.snippet.startswith("登录页面 at"), "as it was said"


# --- keeping up -----------------------------------------------------------------------------------


def test_rows_come_first_where_there_is_much_and_search_completes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("decklog.sync.INLINE_BYTES", 1_000)
    home = tmp_path / "home"
    for n in range(4):
        talk = Claude(f"talk{n}")
        talk.prompt("marmalade " * 50)
        talk.write(home)
    with Synced(home, tmp_path / "own") as deck:
        assert deck.deck.refresh() == ""
        assert len(deck.sessions()) == 4
        page = deck.deck.search("marmalade")
        assert page.hits == ()
        assert (page.covered.complete, page.covered.behind) == (False, 4)
        assert deck.deck.refresh(complete=True) == ""
        page = deck.deck.search("marmalade")
        assert len(page.hits) == 4
        assert page.covered.complete
        rows = deck.dump()
    with Synced(home, tmp_path / "other") as deck:
        deck.sync()
        assert deck.dump() == rows


def test_shards_that_are_lost_are_made_again(tmp_path: Path) -> None:
    home, own = tmp_path / "home", tmp_path / "own"
    for n in range(3):
        talk = Claude(f"talk{n}")
        talk.prompt("marmalade")
        talk.write(home)
    with Synced(home, own) as deck:
        deck.sync()
        before = deck.dump()
    for shard in own.glob("text-*.db*"):
        shard.unlink()
    with Synced(home, own) as deck:
        page = deck.deck.search("marmalade")
        assert (page.hits, page.covered.complete) == ((), False)
        assert deck.deck.refresh(complete=True) == ""
        assert len(deck.deck.search("marmalade").hits) == 3
        assert deck.dump() == before


def test_a_hit_as_json_has_the_documented_fields(everything: hub.Decklog) -> None:
    page = everything.search_rows("hello", limit=1)
    assert set(page) == {"hits", "next", "covered"}
    assert set(page["hits"][0]) == set(Hit.__struct_fields__)
    json.dumps(page)


def test_searches_between_syncs_of_several_processes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("decklog.sync.FORK_BYTES", 0)
    home = tmp_path / "home"
    with Synced(home, tmp_path / "own", jobs=2) as deck, Synced(home, tmp_path / "own") as other:
        for n in range(6):
            for talk in (Claude(f"talk{n}"), Codex(f"019b7000-0000-7000-8000-{n:012}")):
                talk.prompt(f"marmalade number {n}")
                talk.write(home)
            deck.sync()
            assert deck.deck.search_count("marmalade") == 2 * n + 2
            if n % 2:  # shards that another deck of this process has open
                assert len(other.deck.search("marmalade", limit=50).hits) == 2 * n + 2
        assert deck.dump() == clean(home, tmp_path / "new")


def test_a_store_of_an_older_format_goes_on(tmp_path: Path) -> None:
    home, own = tmp_path / "home", tmp_path / "own"
    talk = Claude("talk")
    talk.prompt("marmalade")
    talk.write(home)
    with Synced(home, own) as deck:
        deck.sync()
        before = deck.dump()
        db = deck.store.db
        db.create_scalar_function("unpacked", zlib.decompress, 1)
        db.execute("update event set body = unpacked(body)")
        db.pragma("user_version", 2)
    for shard in own.glob("text-*.db*"):
        shard.unlink()
    with Synced(home, own) as deck:
        deck.sync()
        assert deck.dump() == before
