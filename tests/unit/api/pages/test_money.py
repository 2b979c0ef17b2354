from __future__ import annotations

from dataclasses import replace

from api.pages.money import FLAGS, STATES, charge_lines
from api.services import absent
from economy.charges import Flag
from economy.statement import State


def test_every_state_and_flag_of_the_ledger_has_words():
    assert set(STATES) == set(State)
    assert set(FLAGS) == {str(flag) for flag in Flag}


def test_the_charge_and_its_split_add_up(house):
    item = house.done()
    shown = charge_lines(house.services, item)
    assert shown.state == "settled"
    assert shown.charge == shown.hold
    assert [share for _, _, share in shown.split] == ["70 %", "10 %", "10 %", "10 %"]
    assert shown.reward.endswith("BTT")
    assert shown.reward_note == "if epoch 1 closed now; it changes until then"


def test_a_hold_before_the_charge(house):
    house.receive_head()
    house.lease()
    (item,) = house.side.workitems()
    shown = charge_lines(house.services, item)
    assert shown.state.startswith("held")
    assert (shown.charge, shown.split, shown.reward) == ("", (), "")


def test_nothing_booked_and_no_ledger_show_nothing(house):
    house.receive_head()
    (item,) = house.side.workitems()
    assert charge_lines(house.services, item) is None
    assert charge_lines(replace(house.services, ledger=absent()), item) is None
