"""Which folder a Gemini CLI project's transcripts belong to. The transcripts do not say it."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable, Mapping

import msgspec
from msgspec import Struct

_named = re.compile(r"Workspace Directories:\*\*\s+- (\S[^\n]*)|in the directory: (\S[^\n]*)")


class Registry(Struct):
    """``projects.json``: the name of each project's folder below ``tmp``, by its path."""

    projects: dict[str, str] = {}


def companions(uri: str) -> tuple[str, ...]:
    """Files that tell the project's folder: its markers, then the registry of all projects."""
    base, _, rest = uri.rpartition("/.gemini/tmp/")
    slug = rest.partition("/")[0]
    home = f"{base}/.gemini"
    return (
        f"{home}/tmp/{slug}/.project_root",
        f"{home}/history/{slug}/.project_root",
        f"{home}/projects.json",
    )


def workspace(uri: str, found: Mapping[str, bytes]) -> str:
    """The project's folder by its companions; empty when they do not tell."""
    *markers, registry = companions(uri)
    for path in markers:
        folder = found.get(path, b"").decode("utf-8", "replace").strip()
        if folder:
            return folder
    try:
        known = msgspec.json.decode(found.get(registry, b"{}"), type=Registry)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return ""
    slug = markers[0].rpartition("/")[0].rpartition("/")[2]
    for folder, name in known.projects.items():
        if slug in (name, hashlib.sha256(folder.encode()).hexdigest()):  # the old names: a hash
            return folder
    return ""


def named_in(texts: Iterable[str]) -> str:
    """The folder that the context at the beginning of a session names."""
    for text in texts:
        found = _named.search(text)
        if found:
            return (found[1] or found[2]).strip()
    return ""
