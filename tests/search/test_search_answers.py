"""Search: what is found, and what is shown of it."""

from __future__ import annotations

import os
import random
import re
from pathlib import Path
from typing import Any

import pytest

from decklog import hub
from decklog.errors import UsageError
from decklog.model import Hit
from decklog.search import answering
from homes import Claude, Codex, Synced

Texts = dict[tuple[str, int], str]


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
            told = {(h.agent, h.stale, h.snippet) for h in hits}
            before = ("claude", answering.CHANGED, "")
            rewritten = before if not (synced and archive) else ("claude", "", "marmalade sandwich")
            kept = ("codex", "", "marmalade toast")
            if not archive:
                kept = ("codex", answering.GONE, "")
            assert told == {rewritten, kept}
            scanned = deck.deck.scan_rows("marmalade (sand|toast)")["hits"]
            expected = {t[2] for t in told if t[2]}
            assert {h["snippet"] for h in scanned} == expected
            deck.sync()


@pytest.mark.parametrize("rest", [b"", b'{"type":"us', None])
def test_a_record_without_its_line_end_is_shown(tmp_path: Path, rest: bytes | None) -> None:
    """Also with another one, whole or not, begun right behind it."""
    made = Claude("talk")
    made.prompt("marmalade sandwich")
    one = made.data.removesuffix(b"\n")
    made.prompt("strawberry sundaes")
    path = made.write(tmp_path / "home")
    path.write_bytes(one + (made.data[len(one) + 1 :] if rest is None else rest))
    with Synced(tmp_path / "home", tmp_path / "own") as deck:
        deck.sync()
        (hit,) = deck.deck.search("marmalade").hits
        assert (hit.snippet, hit.stale) == ("marmalade sandwich", "")
        path.unlink()
        deck.sync()
        (hit,) = deck.deck.search("marmalade").hits
        assert (hit.snippet, hit.stale) == ("marmalade sandwich", "")


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


# --- asked again --------------------------------------------------------------------------------


def test_what_is_asked_again_is_not_read_again_unless_something_changed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    read: list[str] = []
    whole = answering._read_file

    def counted(uri: str, offset: int, length: int) -> bytes:
        read.append(uri)
        return whole(uri, offset, length)

    monkeypatch.setattr(answering, "_read_file", counted)
    home = tmp_path / "home"
    one, other = Claude("one"), Claude("other")
    for talk in (one, other):
        talk.prompt("marmalade toast")
        talk.write(home)
        os.utime(home / talk.path, (1, 1))
    monkeypatch.setattr(answering, "SETTLED", -(10**12))  # else they would have to stand a second
    with Synced(home, tmp_path / "own") as deck:
        deck.sync()

        def asked(**more: Any) -> tuple[list[str], int]:
            read.clear()
            found = deck.deck.search("marmalade", **more).hits
            return sorted(h.snippet or h.stale for h in found), len(read)

        assert asked() == (["marmalade toast"] * 2, 2)
        assert asked() == (["marmalade toast"] * 2, 0)
        assert asked(limit=1) == (["marmalade toast"], 1)
        assert asked(roles=["tool"]) == ([], 0)
        assert asked(agents=["claude"]) == (["marmalade toast"] * 2, 2)
        deck.deck.search_rows("marmalade")["hits"][0]["snippet"] = "changed by the caller"
        assert asked() == (["marmalade toast"] * 2, 0)
        path = home / one.path
        path.write_bytes(path.read_bytes().replace(b"marmalade", b"porridge!"))
        assert asked() == (["marmalade toast", answering.CHANGED], 3)  # looked at once more
        other.prompt("more marmalade")
        other.write(home)
        with Synced(home, tmp_path / "own") as another:
            another.sync()
        assert asked()[0] == ["marmalade toast"] * 2 + ["more marmalade"]
        path.unlink()
        deck.sync()
        assert asked()[0] == ["marmalade toast"] * 2 + ["more marmalade"]
