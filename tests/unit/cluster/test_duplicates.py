"""Copied answers are flagged; honest ones are not."""

import io
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest

from bithive.envelope import FRAME_BYTES, PAYLOAD, BadEnvelope, frame_span, open_frame, seal
from bithive.limits import SEEN_FINDINGS_PERIOD_S
from bithive.offer import Urgency
from cluster.attempt import Attempt
from cluster.duplicates import REPEATED, SightingKeys, findings_digest, input_digest
from inference.findings import Findings, Mask, Score
from tests.common.network import HandCell, Made, Scene, make_offer, put_offer, scene, volume


@pytest.fixture
def stage(tmp_path: Path) -> Scene:
    return scene(tmp_path)


def ball(seed: int = 0, shape: tuple[int, int, int] = (40, 40, 40)) -> bytes:
    chance = np.random.default_rng(seed)
    return Findings((Mask("bright", chance.random(shape) < 0.2),)).to_bytes()


def done(stage: Scene, seed: int, findings: bytes, cell: HandCell | None = None) -> Attempt:
    made = stage.offer(image=volume(seed, (40, 40, 40)), urgency=Urgency.HIGH)
    return handed_in(stage, made, findings, cell or stage.cell)


def handed_in(stage: Scene, made: Made, findings: bytes, cell: HandCell) -> Attempt:
    grant = cell.lease()
    stage.clock.advance_s(1)
    cell.finish(grant, made.payload, findings=findings)
    found = stage.broker.store.attempt(grant.attempt_id)
    assert found is not None
    return found


def flags(stage: Scene, attempts: Sequence[Attempt]) -> list[str]:
    found = [stage.broker.store.attempt(item.attempt_id) for item in attempts]
    return [item.flag for item in found if item is not None]


def test_the_same_findings_for_another_input_flag_both(stage: Scene) -> None:
    thief = HandCell(stage.broker, stage.ids, stage.institution, seed=8)
    first, other = done(stage, 1, ball()), done(stage, 2, ball(1))
    copied = done(stage, 3, ball(), thief)
    assert flags(stage, [first, other, copied]) == [REPEATED, "", REPEATED]
    assert [item.attempt_id for item in stage.broker.store.flagged(thief.node)] == [copied.attempt_id]
    assert [item.attempt_id for item in stage.broker.store.flagged(stage.cell.node)] == [first.attempt_id]
    flagged = [event for event in stage.broker.store.outbox.waiting() if event.topic == "attempt.flagged"]
    assert [event.key for event in flagged] == [copied.attempt_id, first.attempt_id]
    assert stage.topics()[-3:] == ["attempt.accepted", "attempt.flagged", "attempt.flagged"]
    third = done(stage, 4, ball())
    assert flags(stage, [first, copied, third]) == [REPEATED] * 3
    flagged = [event for event in stage.broker.store.outbox.waiting() if event.topic == "attempt.flagged"]
    assert len(flagged) == 3


def test_the_same_input_again_is_no_copy(stage: Scene) -> None:
    assert flags(stage, [done(stage, 1, ball()), done(stage, 1, ball())]) == ["", ""]


TRIVIAL = {
    "nothing": Findings(),
    "empty mask": Findings((Mask("a", np.zeros((40, 40, 40), np.bool_)),)),
    "full mask": Findings((Mask("a", np.ones((40, 40, 40), np.bool_)),)),
    "one probability": Findings(scores=(Score("p", 0.123456789),)),
    "saturated": Findings(scores=tuple(Score(f"p{n}", float(n % 2)) for n in range(30))),
}


@pytest.mark.parametrize("name", TRIVIAL)
def test_little_said_is_not_compared(stage: Scene, name: str) -> None:
    content = TRIVIAL[name].to_bytes()
    assert flags(stage, [done(stage, 1, content), done(stage, 2, content)]) == ["", ""]


def test_another_bundle_is_another_thing(stage: Scene) -> None:
    stage.cell.greet(bundles=("ab" * 32, "cd" * 32))
    first = done(stage, 1, ball())
    made = make_offer(stage.ids, stage.clock, stage.institution, volume(2, (40, 40, 40)), bundle_sha256="cd" * 32)
    put_offer(stage.broker, made)
    second = handed_in(stage, made, ball(), stage.cell)
    assert flags(stage, [first, second]) == ["", ""]


def test_the_key_is_destroyed_with_what_was_made_under_it(stage: Scene, tmp_path: Path) -> None:
    first = done(stage, 1, ball())
    stage.broker.expire()
    stage.clock.advance_s(SEEN_FINDINGS_PERIOD_S)
    stage.cell.greet()
    stage.broker.expire()
    assert flags(stage, [first, done(stage, 2, ball())]) == ["", ""]
    folder = tmp_path / "keys"
    keys = SightingKeys(folder, lambda: bytes(32))
    period, key = keys.at(0)
    assert (period, keys.at(1), SightingKeys(folder, lambda: bytes(32)).at(1)) == (0, (0, key), (0, key))
    later, other = keys.at(round(SEEN_FINDINGS_PERIOD_S * 1000))
    assert (later, other != key) == (1, True)
    assert [path.name for path in folder.iterdir()] == ["seen-1.key"]
    assert folder.joinpath("seen-1.key").stat().st_mode & 0o077 == 0


def test_digests_are_keyed_and_of_one_bundle() -> None:
    assert findings_digest(b"k" * 32, "ab", b"x") != findings_digest(b"j" * 32, "ab", b"x")
    assert findings_digest(b"k" * 32, "ab", b"x") != findings_digest(b"k" * 32, "cd", b"x")


@pytest.mark.parametrize("size_bytes", [1, FRAME_BYTES, FRAME_BYTES + 1, 3 * FRAME_BYTES - 5])
def test_one_frame_is_opened_of_many(size_bytes: int) -> None:
    content = np.random.default_rng(size_bytes).bytes(size_bytes)
    sealed = b"".join(seal(bytes(32), PAYLOAD, content))
    for number in range(-(-size_bytes // FRAME_BYTES)):
        offset, length = frame_span(size_bytes, number)
        frame = sealed[offset : offset + length]
        opened = open_frame(bytes(32), PAYLOAD, size_bytes, number, frame)
        assert opened == content[number * FRAME_BYTES : (number + 1) * FRAME_BYTES]
        for wrong in (frame[:-1], frame + b"x", frame[:-1] + bytes([frame[-1] ^ 1]), b""):
            with pytest.raises(BadEnvelope):
                open_frame(bytes(32), PAYLOAD, size_bytes, number, wrong)


def test_an_input_is_known_by_its_middle(stage: Scene) -> None:
    one, two = (make_offer(stage.ids, stage.clock, stage.institution, volume(seed, (40, 40, 40))) for seed in (1, 2))
    again = make_offer(stage.ids, stage.clock, stage.institution, volume(1, (40, 40, 40)))
    digests = [
        input_digest(bytes(32), made.offer, made.keys.payload_key, io.BytesIO(made.sealed))
        for made in (one, two, again)
    ]
    assert digests[0] == digests[2] != digests[1]
