"""Decoders that several threads are the first to want."""

from __future__ import annotations

import subprocess
import sys

import pytest

FIRST = """
import sys, threading
import msgspec
from decklog import decoding

sys.setswitchinterval(1e-6)
json = b'{"g0": {"f3": 1}, "g19": {"f0": 2}}'
packed = msgspec.msgpack.encode(msgspec.json.decode(json))
ways = {
    "json": lambda kind: decoding.decoder(kind).decode(json),
    "msgpack": lambda kind: decoding.unpacked(packed, kind),
    "plain": lambda kind: decoding.convert({"g0": {"f3": 1}, "g19": {"f0": 2}}, kind),
}

def kind(n):
    inner = [
        msgspec.defstruct(f"I{n}_{i}", [(f"f{j}", int | None, None) for j in range(20)])
        for i in range(20)
    ]
    return msgspec.defstruct(f"K{n}", [(f"g{i}", inner[i] | None, None) for i in range(20)])

for n in range(60):
    made, start = kind(n), threading.Barrier(4)

    def decode():
        start.wait()
        ways[sys.argv[1]](made)

    threads = [threading.Thread(target=decode) for _ in range(4)]
    for t in threads:
        t.start()
    for t in threads:
        t.join()
print("whole")
"""


def told(way: str) -> str:
    command = [sys.executable, "-c", FIRST, way]
    return subprocess.run(command, capture_output=True, text=True, timeout=60, check=False).stdout


@pytest.mark.parametrize("way", ["json", "msgpack", "plain"])
def test_threads_may_be_the_first_at_once(way: str) -> None:
    assert told(way) == "whole\n"
