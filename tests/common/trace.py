"""Reading what strace wrote: which system call ended before which began."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

CALLS = "fsync,fdatasync,rename,renameat,renameat2,write,writev,sendto,sendmsg"
_LINE = re.compile(r"^(\d+) +(.*)$")
_WHOLE = re.compile(r"^(\w+)\((.*)$")
_RESUMED = re.compile(r"^<\.\.\. (\w+) resumed>(.*)$")


@dataclass(frozen=True, slots=True)
class Call:
    """One system call.

    Attributes
    ----------
    name, text
        Its name, and its arguments and answer as strace prints them (file descriptors with their paths).
    began, ended
        Its place in the order of all lines.
    """

    name: str
    text: str
    began: int
    ended: int


def command(output: Path) -> list[str]:
    """The words before a program that trace it and all that it starts."""
    return ["strace", "-f", "-y", "-s", "160", "-e", f"trace={CALLS}", "-e", "signal=none", "-o", str(output)]


def calls(path: Path) -> Iterator[Call]:
    """The finished calls of a trace, in the order in which they ended."""
    begun: dict[tuple[str, str], tuple[int, str]] = {}
    for number, line in enumerate(path.read_text(errors="replace").splitlines()):
        found = _LINE.match(line)
        if not found:
            continue
        pid, rest = found.groups()
        if whole := _WHOLE.match(rest):
            name, text = whole.groups()
            if text.endswith("<unfinished ...>"):
                begun[pid, name] = (number, text.removesuffix("<unfinished ...>"))
            else:
                yield Call(name, text, number, number)
        elif resumed := _RESUMED.match(rest):
            name, text = resumed.groups()
            if (pid, name) in begun:
                start, head = begun.pop((pid, name))
                yield Call(name, head + text, start, number)
