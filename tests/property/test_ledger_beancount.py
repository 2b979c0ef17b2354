"""Another program's arithmetic: Beancount (a program of its own, never part of BitHive) reads the export and agrees."""

from __future__ import annotations

import contextlib
import random
import re
import subprocess
import sys
from pathlib import Path

import pytest

from economy.corrections import correct
from economy.entry import Asset, Entry, PendingRef, hold, move, release, settle
from economy.errors import Refused
from economy.export import export
from economy.ledger import Recorded
from economy.store import MemoryStore
from tests.common.counts import seeds
from tests.common.economy import COIN, OTHER, House

FINE = Asset("FINE", 18, "test")
AMOUNT = re.compile(r"^(  \S+  )(-?[\d.]+)( [A-Z]+)$", re.MULTILINE)


def lived(seed: int, count: int) -> House:
    """Some days of moves, holds, parts, corrections and refusals, in three assets."""
    house, rolls = House(MemoryStore()), random.Random(seed)
    house.ledger.post(Entry("setup/fine", "setup.done", declares=(FINE,)))
    for number in range(count):
        asset = rolls.choice((COIN, OTHER, FINE))
        one, two = rolls.sample(range(3), 2)
        amount = rolls.choice((rolls.randint(1, 9), rolls.randint(1, 10**12)))
        legs = [move(house.source(asset), house.wallet(one, asset), amount)]
        if rolls.random() < 0.5:
            legs.append(hold(house.wallet(one, asset), house.wallet(two, asset), rolls.randint(1, amount), 86_400))
        house.ledger.post(Entry(f"e/{number}", "test.done", tuple(legs)))
        if len(legs) > 1 and rolls.random() < 0.8:
            ref = PendingRef(f"e/{number}", 1)
            end = rolls.choice((settle(ref), settle(ref, 1), release(ref)))
            assert isinstance(house.ledger.post(Entry(f"end/{number}", "test.ended", (end,))), Recorded)
        elif rolls.random() < 0.2:
            with contextlib.suppress(Refused):
                correct(house.ledger, f"e/{number}", "a test")
        house.clock.advance_s(rolls.choice((0, 60, 3_600, 90_000)))
    return house


def beancount(text: str, folder: Path) -> tuple[int, str]:
    """Exit code and words of `bean-check`."""
    path = folder / "ledger.beancount"
    path.write_text(text)
    program = Path(sys.executable).parent / "bean-check"
    if not program.exists():
        pytest.skip("the program bean-check is not installed")
    said = subprocess.run([program, "--no-cache", path], capture_output=True, text=True, check=False)
    return said.returncode, said.stdout + said.stderr


def test_beancount_agrees(tmp_path):
    house = lived(5, 150)
    text = "".join(export(house.store, "beancount"))
    assert text.count(" balance ") == len(house.ledger.balances())
    assert beancount(text, tmp_path) == (0, "")


def test_beancount_would_say_so(tmp_path):
    """One unit more in one posting, or in one balance, is found."""
    text = "".join(export(lived(6, 20).store, "beancount"))
    place = AMOUNT.search(text)
    assert place is not None
    more = text[: place.start(2)] + "1" + place[2] + text[place.end(2) :]
    code, said = beancount(more, tmp_path)
    assert code == 1
    assert "Transaction does not balance" in said
    balance = re.search(r"( balance \S+  )(-?)([\d.]+)", text)
    assert balance is not None
    code, said = beancount(text[: balance.start(3)] + "1" + balance[3] + text[balance.end(3) :], tmp_path)
    assert code == 1
    assert "Balance failed" in said


@pytest.mark.soak
@pytest.mark.timeout(3600)
def test_beancount_agrees_at_length(tmp_path, capsys):
    for seed in seeds("Beancount", 0, 50, capsys):
        house = lived(seed, 1_000)
        assert beancount("".join(export(house.store, "beancount")), tmp_path) == (0, ""), f"seed {seed}"
        house.ledger.close()
