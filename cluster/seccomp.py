"""The filter of system calls that a bundle process runs under for the rest of its life (seccomp(2), Linux).

A classic BPF program that the kernel runs before each call. It lists what is allowed; see `cluster.syscalls`. Once it is
installed nothing in the process can take it away, and every thread that is started later has it too.
"""

from __future__ import annotations

import ctypes
import os
import platform
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from errno import ENOSYS, EPERM
from types import MappingProxyType

from cluster.errors import SandboxAbsent
from cluster.syscalls import ALLOWED, DENIED, FILTERED

Instruction = tuple[int, int, int, int]
"""Code, jump if true, jump if false, operand: `struct sock_filter` of linux/filter.h."""

_AUDIT_ARCH = {"x86_64": 0xC000003E, "aarch64": 0xC00000B7}
_SECCOMP = {"x86_64": 317, "aarch64": 277}

_LOAD, _EQUAL, _AND, _JUMP, _RETURN = 0x20, 0x15, 0x54, 0x05, 0x06
_ALLOW, _ERRNO, _KILL = 0x7FFF0000, 0x00050000, 0x80000000
_NUMBER_AT, _ARCH_AT, _ARGUMENTS_AT = 0, 4, 16
_SET_MODE_FILTER, _ALL_THREADS = 1, 1
_PROGRAM_MAX = 4096

_CLONE_THREAD = 0x00010000
_CLONE_NEW = 0x7E020000
_TERMINAL_INPUT = (0x5412, 0x541C)
_IOCTL_OF_FILES = (0x5401, 0x5413, 0x541B, 0x5421, 0x5450, 0x5451)
_FCNTL_SIGNALS = (8, 10, 15, 1024, 1026)
_PRCTL_NAMES = (15, 16, 0x53564D41)
_PRIO_PROCESS = 0


@dataclass(frozen=True, slots=True)
class Among:
    """An argument is one of some values; with `but`, none of them. The low 32 bits count: the kernel takes an int."""

    argument: int
    values: tuple[int, ...]
    but: bool = False


@dataclass(frozen=True, slots=True)
class Bits:
    """An argument has some bits set and others not, in its low 32."""

    argument: int
    mask: int
    wanted: int


Rule = tuple[Among | Bits, ...]
"""All of them must hold."""


def rules(pid: int, *, gpu: bool) -> Mapping[str, Rule]:
    """What the calls of `FILTERED` must look like.

    Parameters
    ----------
    pid
        Of the process itself: the only one that it may signal or change.
    gpu
        A graphics driver is spoken to by ioctl(2): all but typing into a terminal is then allowed.
    """
    own = (0, pid)
    return MappingProxyType(
        {
            "clone": (Bits(0, _CLONE_THREAD | _CLONE_NEW, _CLONE_THREAD),),
            "kill": (Among(0, (pid,)),),
            "tgkill": (Among(0, (pid,)),),
            "ioctl": (Among(1, _TERMINAL_INPUT, but=True) if gpu else Among(1, _IOCTL_OF_FILES),),
            "fcntl": (Among(1, _FCNTL_SIGNALS, but=True),),
            "prctl": (Among(0, _PRCTL_NAMES),),
            "prlimit64": (Among(0, own),),
            "sched_setaffinity": (Among(0, own),),
            "setpriority": (Among(0, (_PRIO_PROCESS,)), Among(1, own)),
        }
    )


def program(architecture: str, pid: int, *, gpu: bool = False) -> list[Instruction]:
    """The filter.

    Parameters
    ----------
    architecture
        `x86_64` or `aarch64`; a call made for another one (a 32-bit one on the same processor) ends the process.
    pid, gpu
        As for `rules`.

    Raises
    ------
    SandboxAbsent
        For another architecture.
    """
    if architecture not in _AUDIT_ARCH:
        raise SandboxAbsent("system calls can be filtered on x86-64 and 64-bit ARM only")
    lines: list[Instruction] = [
        (_LOAD, 0, 0, _ARCH_AT),
        (_EQUAL, 1, 0, _AUDIT_ARCH[architecture]),
        (_RETURN, 0, 0, _KILL),
        (_LOAD, 0, 0, _NUMBER_AT),
    ]
    for number in ALLOWED[architecture].values():
        lines += _answered(number, _ALLOW)
    for name, rule in rules(pid, gpu=gpu).items():
        lines += _ruled(FILTERED[architecture][name], rule)
    for number in DENIED[architecture].values():
        lines += _answered(number, _ERRNO | EPERM)
    lines.append((_RETURN, 0, 0, _ERRNO | ENOSYS))
    assert len(lines) <= _PROGRAM_MAX, "the kernel takes no longer program"
    return lines


def _answered(number: int, answer: int) -> Sequence[Instruction]:
    return ((_EQUAL, 0, 1, number), (_RETURN, 0, 0, answer))


def _ruled(number: int, rule: Rule) -> Sequence[Instruction]:
    """A call that is allowed while each condition holds; whatever comes of it, the program ends here for this call."""
    body: list[Instruction] = []
    for condition in rule:
        body += _condition(condition)
    body.append((_RETURN, 0, 0, _ALLOW))
    assert len(body) < 256, "jumps have eight bits"
    return ((_EQUAL, 0, len(body), number), *body)


def _condition(condition: Among | Bits) -> Iterable[Instruction]:
    yield (_LOAD, 0, 0, _ARGUMENTS_AT + 8 * condition.argument)
    if isinstance(condition, Bits):
        yield (_AND, 0, 0, condition.mask)
        yield (_EQUAL, 1, 0, condition.wanted)
        yield (_RETURN, 0, 0, _ERRNO | EPERM)
        return
    count = len(condition.values)
    for place, value in enumerate(condition.values):
        yield (_EQUAL, count - place, 0, value)
    if condition.but:
        yield (_JUMP, 0, 0, 1)
    yield (_RETURN, 0, 0, _ERRNO | EPERM)


class _Filter(ctypes.Structure):
    _fields_ = (("code", ctypes.c_uint16), ("jt", ctypes.c_uint8), ("jf", ctypes.c_uint8), ("k", ctypes.c_uint32))


class _Program(ctypes.Structure):
    _fields_ = (("length", ctypes.c_uint16), ("filters", ctypes.POINTER(_Filter)))


def install(lines: Sequence[Instruction], architecture: str = "") -> None:
    """Put this process and all of its threads under a filter. No new privileges must be promised before (prctl(2)).

    Raises
    ------
    SandboxAbsent
        If the kernel does not take it.
    """
    filters = (_Filter * len(lines))(*(_Filter(*line) for line in lines))
    whole = _Program(len(lines), filters)
    libc = ctypes.CDLL(None, use_errno=True)
    number = _SECCOMP[architecture or platform.machine()]
    if libc.syscall(number, _SET_MODE_FILTER, _ALL_THREADS, ctypes.byref(whole)) != 0:
        raise SandboxAbsent(f"the kernel takes no filter of system calls: {os.strerror(ctypes.get_errno())}")
