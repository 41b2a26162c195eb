"""File systems: of what type the one that holds a path is."""

from __future__ import annotations

import os

NETWORK = frozenset(
    """nfs nfs4 cifs smb3 smbfs 9p afs ceph sshfs glusterfs lustre gpfs davfs virtiofs
    drvfs""".split()
)
"""File systems on which locks and shared memory between machines are not to be relied on."""


def file_system(path: str, mounts: str = "/proc/mounts") -> str:
    """Type of the file system that holds a path, as the kernel names it; empty where unknown."""
    path = os.path.realpath(path)
    best, kind = "", ""
    try:
        with open(mounts, encoding="utf-8", errors="surrogateescape") as lines:
            for line in lines:
                fields = line.split(" ")
                if len(fields) < 3:
                    continue
                # the kernel writes space, tab, newline and backslash in octal
                point = fields[1].encode("latin-1", "replace").decode("unicode_escape")
                inside = path == point or path.startswith(point.rstrip("/") + "/")
                if inside and len(point) >= len(best):
                    best, kind = point, fields[2]
    except OSError:
        return ""
    return kind


def is_network(kind: str) -> bool:
    return kind.removeprefix("fuse.") in NETWORK


def journal_mode(path: str) -> str:
    """How SQLite is to keep a new database at a path safe: a write-ahead log needs memory that all
    who have it open share, which a network file system does not give."""
    return "delete" if is_network(file_system(path)) else "wal"
