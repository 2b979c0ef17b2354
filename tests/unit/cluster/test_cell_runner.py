"""A machine's profile as those who run bundles on it see it."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from bithive.settings import CellSettings, Mode, ModelSettings, Settings
from cluster import measure
from cluster.attestation import Evidence
from cluster.caps import Caps
from cluster.cell_runner import attesting_of, identity_of, plan_of, stock_of
from cluster.labels import Tier
from cluster.profile import Profile


def profile_of(settings: Settings, **changes: object) -> Profile:
    return replace(Profile.of(settings), **changes)  # type: ignore[arg-type]


def settings_of(folder: Path) -> Settings:
    (folder / "models").mkdir()
    return Settings(state=folder, models=ModelSettings(store=folder / "models"))


def test_a_replica_stays_within_the_contributors_bounds(tmp_path: Path) -> None:
    settings = settings_of(tmp_path)
    profile = profile_of(settings, slots=2, tier=Tier.DATACENTER, caps=Caps(threads=2, memory_bytes=3 * 2**30))
    plan = plan_of(settings, profile, stock_of(settings))
    assert plan.threads == 1
    assert plan.memory_bytes <= 3 * 2**30 // 2
    assert plan.nice == 0
    assert Path(plan.key_path).is_file()


def test_a_home_gives_way_to_its_owner(tmp_path: Path) -> None:
    settings = settings_of(tmp_path)
    for changes in ({"tier": Tier.HOME}, {"tier": Tier.DATACENTER, "caps": Caps(pause_when_used=True)}):
        plan = plan_of(settings, profile_of(settings, **changes), stock_of(settings))
        assert plan.nice == 10
        assert plan.threads == measure.threads()


def test_the_cell_says_what_its_profile_says_and_proves_its_own_node(tmp_path: Path) -> None:
    settings = settings_of(tmp_path)
    profile = profile_of(settings, operator="op", tier=Tier.HOME, residency="NL")
    identity = identity_of(settings, profile)
    assert (identity.operator, identity.tier, identity.residency) == ("op", "home", "NL")
    plan = plan_of(settings, profile, stock_of(settings))
    assert [str(key.public_hex) for key in identity.node_keys] != [identity.cell_key]
    assert Path(plan.key_path).parent == tmp_path / "keys"


class Taking:
    """A network side that takes what it is shown."""

    def __init__(self) -> None:
        self.shown: list[Evidence] = []

    def challenge(self) -> str:
        return "00" * 32

    def evidence(self, evidence: Evidence) -> int:
        self.shown.append(evidence)
        return 1 << 50


def test_a_cell_vouches_for_itself_in_a_demonstration_that_says_so(tmp_path: Path) -> None:
    settings = settings_of(tmp_path)
    identity, hub = identity_of(settings, profile_of(settings)), Taking()
    asked = settings.model_copy(update={"cell": CellSettings(simulated_attester=True)})
    for quiet in (settings, asked, settings.model_copy(update={"mode": Mode.DEMO})):
        assert attesting_of(quiet, hub, identity) is None
    attesting = attesting_of(asked.model_copy(update={"mode": Mode.DEMO}), hub, identity)
    assert attesting is not None
    attesting.keep("cel_1")
    (shown,) = hub.shown
    assert (shown.attester, shown.cell_key, attesting.attested) == ("simulated", identity.cell_key, True)
    assert (tmp_path / "keys" / "attester.pub").read_text() == shown.attester_key + "\n"
