"""The canonical text of the index: equal for equal contents, whatever the order of reading was."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from hashlib import blake2b

from decklog.store.text import SHARDS, Absent, Shard, sequence


def dump(folder: str, identity: str, uris: Mapping[int, str]) -> Iterator[str]:
    """Every cursor and every document, one a line; of a document the number and a digest of its
    words and their places."""
    lines: list[str] = []
    for n in range(SHARDS):
        try:
            shard = Shard(folder, n, identity)
        except Absent:
            continue
        try:
            lines += _lines(shard, uris)
        finally:
            shard.close()
    yield from sorted(lines)


def _lines(shard: Shard, uris: Mapping[int, str]) -> Iterator[str]:
    for source, *cursor in shard.db.execute(
        """select source, size, offset, line, hex(chk), version, documents, shortened
        from cursor where offset > 0"""  # of a file without a whole record nothing was read
    ):
        yield f"text\t{uris[source]!r}\t" + "\t".join(map(repr, cursor))
    digests: dict[int, tuple[int, int]] = {}
    shard.db.execute("create virtual table temp.terms using fts5vocab(main, words, instance)")
    for term, doc, column, offset in shard.db.execute("select * from terms"):
        word = blake2b(f"{term}\0{column}\0{offset}".encode(), digest_size=8).digest()
        count, total = digests.get(doc, (0, 0))
        digests[doc] = (count + 1, (total + int.from_bytes(word)) % (1 << 64))
    for first, source, base, seqs in shard.db.execute("select first, source, base, seqs from run"):
        for n, seq in enumerate(sequence(base, seqs), first):
            words, digest = digests.pop(n, (0, 0))
            yield f"document\t{uris[source]!r}\t{seq}\t{words}\t{digest:016x}"
    for n in digests:
        yield f"stray\t{n}"
