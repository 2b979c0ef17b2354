import os

import pytest
from pydantic import ValidationError

from bithive.errors import BadSettings, SimulatedInProduction
from bithive.settings import Mode, Role, load, names


@pytest.fixture(autouse=True)
def _no_settings_from_outside(monkeypatch):
    for name in list(os.environ):
        if name.upper().startswith("BITHIVE_"):
            monkeypatch.delenv(name)


def test_defaults_are_safe():
    settings = load()
    assert (settings.mode, settings.role) == (Mode.PRODUCTION, Role.BOTH)
    assert settings.http.host == "127.0.0.1"
    assert settings.secret is None


def test_the_environment_is_read(monkeypatch):
    monkeypatch.setenv("BITHIVE_HTTP__PORT", "9000")
    monkeypatch.setenv("BITHIVE_MODE", "demo")
    settings = load()
    assert (settings.http.port, settings.mode) == (9000, Mode.DEMO)


@pytest.mark.parametrize(
    "name",
    ["BITHIVE_HTPP__PORT", "BITHIVE_HTTP__PROT", "BITHIVE_HTTP", "BITHIVE_", "bithive_typo", "BITHIVE_HTTP__PORT__X"],
)
def test_a_variable_that_is_no_setting_is_refused(monkeypatch, name):
    monkeypatch.setenv(name, "1")
    with pytest.raises(BadSettings, match="not a setting"):
        load()


@pytest.mark.parametrize("value", ["-1", "65536", "eight", ""])
def test_a_value_out_of_range_is_refused_and_not_quoted(monkeypatch, value):
    monkeypatch.setenv("BITHIVE_HTTP__PORT", value)
    with pytest.raises(BadSettings, match=r"http\.port"):
        load()


def test_a_secret_never_shows(monkeypatch):
    monkeypatch.setenv("BITHIVE_SECRET", "correct horse battery staple " * 2)
    monkeypatch.setenv("BITHIVE_CELL__TOKEN", "another secret")
    shown = repr(load()) + str(load().model_dump()) + load().model_dump_json()
    assert "horse" not in shown
    assert "another" not in shown


def test_the_test_suites_own_variable_is_let_through(monkeypatch):
    monkeypatch.setenv("BITHIVE_TEST_STRICT", "1")
    load()


@pytest.mark.parametrize(
    ("name", "value"),
    [("BITHIVE_NETWORK__SIMULATED_ATTESTERS", "ab" * 32), ("BITHIVE_CELL__SIMULATED_ATTESTER", "true")],
)
def test_simulated_attestation_is_for_a_demonstration_only(monkeypatch, name, value):
    assert not load().simulated
    monkeypatch.setenv(name, value)
    with pytest.raises(SimulatedInProduction):
        load()
    monkeypatch.setenv("BITHIVE_MODE", "demo")
    assert load().simulated


def test_settings_cannot_change():
    with pytest.raises(ValidationError):
        load().log_level = "debug"  # type: ignore[misc]


def test_every_setting_is_described_and_readable(monkeypatch):
    assert all(names().values())
    for name in names():
        monkeypatch.setenv(name, "no such value")
        if name in {"BITHIVE_STATE", "BITHIVE_SECRET"} or "URL" in name or "TOKEN" in name or "NAME" in name:
            load()
        monkeypatch.delenv(name)


def test_three_databases_lie_under_the_state_folder(tmp_path):
    settings = load(state=tmp_path)
    urls = {settings.database_url(name) for name in ("clinic", "network", "ledger")}
    assert urls == {f"sqlite:///{tmp_path}/{name}.db" for name in ("clinic", "network", "ledger")}
    assert settings.model_store == tmp_path / "models"


def test_a_database_of_ones_own(monkeypatch):
    monkeypatch.setenv("BITHIVE_NETWORK__LEDGER_DATABASE_URL", "postgresql://ledger")
    assert load().database_url("ledger") == "postgresql://ledger"
    assert load().database_url("network").startswith("sqlite")


@pytest.mark.parametrize(
    ("value", "folders"),
    [
        ("/a", ["/a"]),
        (os.pathsep.join(["/a", "b c"]), ["/a", "b c"]),
        ('["/a", "/b:c"]', ["/a", "/b:c"]),
        ("", []),
        ("[]", []),
    ],
)
def test_mirrors_are_joined_as_in_path_or_a_json_list(monkeypatch, value, folders):
    monkeypatch.setenv("BITHIVE_MODEL_MIRRORS", value)
    assert [str(path) for path in load().model_mirrors] == folders


@pytest.mark.parametrize(
    ("value", "names"),
    [
        ("", ()),
        ("lungs_ct", ("lungs_ct",)),
        ("lungs_ct,brain_ct", ("lungs_ct", "brain_ct")),
        ("lungs_ct:brain_ct  fetal_planes", ("lungs_ct", "brain_ct", "fetal_planes")),
        ('["lungs_ct", "brain_ct"]', ("lungs_ct", "brain_ct")),
    ],
)
def test_pipelines_that_are_on_are_a_list_of_names(monkeypatch, value, names):
    monkeypatch.setenv("BITHIVE_CLINIC__PIPELINES", value)
    assert load().clinic.pipelines == names


def test_files_of_pipelines_lie_in_the_state_folder_unless_told(monkeypatch, tmp_path):
    monkeypatch.setenv("BITHIVE_STATE", str(tmp_path))
    assert load().pipeline_files == tmp_path / "pipelines"
    monkeypatch.setenv("BITHIVE_CLINIC__PIPELINE_FILES", "/etc/bithive")
    assert str(load().pipeline_files) == "/etc/bithive"


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("BITHIVE_MODEL_MIRRORS", "[1"),
        ("BITHIVE_MODEL_MIRRORS", "[{}]"),
        ("BITHIVE_MODELS__TRUSTED_KEYS", '["short"]'),
        ("BITHIVE_MODELS__TRUSTED_KEYS", "x"),
        ("BITHIVE_CLINIC__PIPELINES", "lungs-ct"),
        ("BITHIVE_CLINIC__PIPELINES", '["lungs_ct'),
        ("BITHIVE_CLINIC__PIPELINES", "[1]"),
        ("BITHIVE_CLINIC__PIPELINES", "a" * 65),
    ],
)
def test_malformed_model_settings_are_refused(monkeypatch, name, value):
    monkeypatch.setenv(name, value)
    with pytest.raises(BadSettings):
        load()


WITNESS = "auditor.example/1+957a6bfc+BMhTrQ8M0rYZrqks7sT9VqJNZJnVhM55JX5Fz9gTm2Cn"


@pytest.mark.parametrize(
    ("value", "count"), [("", 0), (WITNESS, 1), (f"{WITNESS}, {WITNESS}", 2), (f'["{WITNESS}"]', 1), ("[]", 0)]
)
def test_witnesses_are_a_list_of_verifier_keys(monkeypatch, value, count):
    monkeypatch.setenv("BITHIVE_NETWORK__WITNESSES", value)
    assert load().network.witnesses == (WITNESS,) * count


@pytest.mark.parametrize("value", ["x", "a+b+c", WITNESS.replace("957a6bfc", "957A6BFC"), "[1]", "[", '{"a": 1}'])
def test_what_is_no_witness_is_refused(monkeypatch, value):
    monkeypatch.setenv("BITHIVE_NETWORK__WITNESSES", value)
    with pytest.raises(BadSettings):
        load()


@pytest.mark.parametrize("value", ["collector:4318", "ftp://x/", "http://user:secret@host/v1/traces", "http://", "x y"])
def test_a_collector_has_a_plain_address(monkeypatch, value):
    monkeypatch.setenv("BITHIVE_TRACING__ENDPOINT", value)
    with pytest.raises(BadSettings):
        load()


@pytest.mark.parametrize("value", ["http://127.0.0.1:4318/v1/traces", "https://collector.example", ""])
def test_traces_go_to_one_address_or_nowhere(monkeypatch, value):
    monkeypatch.setenv("BITHIVE_TRACING__ENDPOINT", value)
    assert load().tracing.endpoint == (value or None)
