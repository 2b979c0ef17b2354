"""The filter of system calls, run as the kernel runs it, on both architectures; and put on for real."""

import subprocess
import sys
from errno import ENOSYS, EPERM

import pytest

from cluster import seccomp
from cluster.errors import SandboxAbsent
from cluster.seccomp import program
from cluster.syscalls import ALLOWED, ARCHITECTURES, DENIED, FILTERED
from tests.common.tree import ROOT

ALLOW, KILL = 0x7FFF0000, 0x80000000
AUDIT = {"x86_64": 0xC000003E, "aarch64": 0xC00000B7}
PID = 4321


def refused(error: int) -> int:
    return 0x00050000 | error


def ruled(architecture: str, number: int, *arguments: int, gpu: bool = False, audit: int = 0) -> int:
    """Run the program on one call (seccomp(2), BPF of linux/filter.h)."""
    words = {0: number & 0xFFFFFFFF, 4: audit or AUDIT[architecture]}
    for place in range(6):
        value = arguments[place] if place < len(arguments) else 0
        words[16 + 8 * place], words[20 + 8 * place] = value & 0xFFFFFFFF, (value >> 32) & 0xFFFFFFFF
    lines, at, accumulator = program(architecture, PID, gpu=gpu), 0, 0
    while True:
        code, true, false, operand = lines[at]
        at += 1
        match code:
            case 0x20:
                accumulator = words[operand]
            case 0x54:
                accumulator &= operand
            case 0x05:
                at += operand
            case 0x15:
                at += true if accumulator == operand else false
            case 0x06:
                return operand


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_each_call_is_on_one_list(architecture: str) -> None:
    tables = [table[architecture] for table in (ALLOWED, FILTERED, DENIED)]
    numbers = [number for table in tables for number in table.values()]
    names = [name for table in tables for name in table]
    assert len(numbers) == len(set(numbers))
    assert len(names) == len(set(names))
    assert set(FILTERED[architecture]) == set(seccomp.rules(1, gpu=False))


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_what_is_listed_is_answered_as_listed(architecture: str) -> None:
    for number in ALLOWED[architecture].values():
        assert ruled(architecture, number, 7, 7, 7) == ALLOW
    for number in DENIED[architecture].values():
        assert ruled(architecture, number) == refused(EPERM)
    for number in (435, 463, 600, 1 << 20, 0x40000000 + ALLOWED[architecture]["read"]):
        assert ruled(architecture, number) == refused(ENOSYS), "what nobody listed does not exist"
    assert ruled(architecture, ALLOWED[architecture]["read"], audit=0x40000003) == KILL, "32 bits"


THREAD, FORK = 0x003D0F00, 0x01200011
RULED = [
    ("clone", (THREAD,), True),
    ("clone", (FORK,), False),
    ("clone", (THREAD | 0x20000000,), False),
    ("clone", (THREAD | 0x00020000,), False),
    ("kill", (PID, 9), True),
    ("kill", (1, 0), False),
    ("kill", (0xFFFFFFFFFFFFFFFF, 9), False),
    ("kill", (0, 9), False),
    ("tgkill", (PID, 5, 6), True),
    ("tgkill", (1, 5, 6), False),
    ("ioctl", (0, 0x5401), True),
    ("ioctl", (0, 0x5412), False),
    ("ioctl", (0, 0x541C), False),
    ("ioctl", (0, 0x8901), False),
    ("fcntl", (0, 3), True),
    ("fcntl", (0, 1030), True),
    ("fcntl", (0, 8), False),
    ("fcntl", (0, 15), False),
    ("fcntl", (0, 1024), False),
    ("prctl", (15,), True),
    ("prctl", (4,), False),
    ("prctl", (1,), False),
    ("prctl", (22,), False),
    ("prlimit64", (0, 4), True),
    ("prlimit64", (PID, 4), True),
    ("prlimit64", (1, 4), False),
    ("sched_setaffinity", (0,), True),
    ("sched_setaffinity", (77,), False),
    ("setpriority", (0, 0), True),
    ("setpriority", (0, PID), True),
    ("setpriority", (0, 1), False),
    ("setpriority", (2, 0), False),
]


@pytest.mark.parametrize("architecture", ARCHITECTURES)
@pytest.mark.parametrize(("name", "arguments", "allowed"), RULED)
def test_arguments_are_looked_at(architecture: str, name: str, arguments: tuple[int, ...], allowed: bool) -> None:
    answer = ruled(architecture, FILTERED[architecture][name], *arguments)
    assert answer == (ALLOW if allowed else refused(EPERM))


def test_a_graphics_driver_is_spoken_to_but_no_terminal_typed_into() -> None:
    number = FILTERED["x86_64"]["ioctl"]
    assert ruled("x86_64", number, 3, 0xC020462A, gpu=True) == ALLOW
    assert ruled("x86_64", number, 3, 0xC020462A) == refused(EPERM)
    assert ruled("x86_64", number, 0, 0x5412, gpu=True) == refused(EPERM)


def test_another_processor_is_refused() -> None:
    with pytest.raises(SandboxAbsent):
        program("riscv64", PID)


REAL = """
import ctypes, os, socket, sys, threading
from cluster import sandbox
from cluster.seccomp import install, program
libc = ctypes.CDLL(None, use_errno=True)
if "promised" in sys.argv:
    libc.prctl(38, 1, 0, 0, 0)
if "powerless" in sys.argv:
    sandbox._without_capabilities(libc)
install(program(os.uname().machine, os.getpid()))
threading.Thread(target=print, args=("threads work",)).start()
for attempt in (socket.socket, os.fork, lambda: os.kill(1, 0)):
    try:
        attempt()
    except PermissionError:
        print("stopped", flush=True)
"""


def test_it_holds_for_real() -> None:
    ended = subprocess.run([sys.executable, "-c", REAL, "promised"], cwd=ROOT, capture_output=True, text=True)
    assert ended.returncode == 0, ended.stderr
    assert ended.stdout.count("stopped") == 3
    assert "threads work" in ended.stdout


def test_without_the_promise_it_is_refused() -> None:
    ended = subprocess.run([sys.executable, "-c", REAL, "powerless"], cwd=ROOT, capture_output=True, text=True)
    assert "SandboxAbsent" in ended.stderr
