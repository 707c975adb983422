"""Names from untrusted data as parts of paths: nothing that is written with them leaves its folder."""

from __future__ import annotations

import hashlib
from pathlib import Path
from urllib.parse import quote

from sweeper.errors import UsageError

MAX_SUFFIX_CHARACTERS = 10
MAX_PART_CHARACTERS = 100
"""File systems allow 255 bytes; what is added to a part has its place."""


def make_path_part(name: str) -> str:
    """Make one part of a path from any text.

    Letters, digits and `._-~@+,=` stay; other characters, and a dot at the beginning, are percent-encoded. Long
    names are cut and end in a hash and their suffix, so that different names stay different.

    Args:
        name: the text, from anywhere.

    Returns:
        A name without separators, that is neither empty nor hidden, and has at most `MAX_PART_CHARACTERS` characters.

    Example:
        >>> make_path_part("G1_tool"), make_path_part("../../etc/passwd"), make_path_part("")
        ('G1_tool', '%2E.%2F..%2Fetc%2Fpasswd', '%')
    """
    part = quote(name, safe="@+,=", errors="surrogatepass")
    part = f"%2E{part[1:]}" if part.startswith(".") else part or "%"
    if len(part) <= MAX_PART_CHARACTERS:
        return part
    suffix, digest = Path(part).suffix, hashlib.sha256(name.encode("utf-8", "surrogatepass")).hexdigest()
    ending = f"-{digest[:16]}{suffix if len(suffix) <= MAX_SUFFIX_CHARACTERS else ''}"
    return part[: MAX_PART_CHARACTERS - len(ending)] + ending


def join_within(folder: Path, *names: str) -> Path:
    """Join names from anywhere to a path that lies within a folder.

    Args:
        folder: the folder.
        names: one text for each part; see `make_path_part`.

    Raises:
        UsageError: a symlink inside the folder leads out of it.

    Example:
        >>> join_within(Path("out"), "raw", "a/b").as_posix()
        'out/raw/a%2Fb'
    """
    path = folder.joinpath(*map(make_path_part, names))
    if not path.resolve().is_relative_to(folder.resolve()):
        raise UsageError(str(path), found=f"a link out of {folder}", hint="choose another folder, or delete the link")
    return path
