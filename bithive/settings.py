"""Settings: read once, frozen, passed down. Every one is in `docs/settings.md`.

Environment variables start with `BITHIVE_`; nested names are joined by two underscores (`BITHIVE_CLINIC__INSTITUTION`).
An unknown `BITHIVE_*` variable is refused rather than ignored.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Mapping
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, SecretStr, ValidationError, field_validator
from pydantic_settings import BaseSettings, NoDecode, SettingsConfigDict, SettingsError

from bithive.errors import BadSettings, SimulatedInProduction

# Read by the test suite and by the CI script; not settings of the product.
_NOT_SETTINGS = {"BITHIVE_TEST_STRICT"}


class Role(StrEnum):
    """Which sides this process serves."""

    CLINICAL = "clinical"
    NETWORK = "network"
    BOTH = "both"


class Mode(StrEnum):
    """`production` refuses every default secret; `demo` makes its own and keeps to loopback."""

    PRODUCTION = "production"
    DEMO = "demo"


class _Section(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class HttpSettings(_Section):
    """Where the hub listens."""

    host: str = Field("127.0.0.1", description="Address to listen on. Anything but loopback needs TLS.")
    port: int = Field(8042, ge=0, le=65535, description="TCP port; 0 takes a free one.")
    tls_certificate: Path | None = Field(None, description="PEM file with the certificate chain.")
    tls_key: Path | None = Field(None, description="PEM file with the private key.")
    public_url: str | None = Field(
        None, description="Address that others reach the hub by; made from host and port when absent."
    )
    trust_proxy: bool = Field(False, description="A TLS-terminating proxy stands before the hub on this machine.")


def _split(value: object, between: str) -> object:
    """A list in one text: JSON, or its members with `between` (a pattern) between them. Anything else as it is."""
    if not isinstance(value, str):
        return value
    if value.lstrip().startswith("["):
        return json.loads(value)
    return tuple(member for member in re.split(between, value) if member)


def _public_keys(keys: tuple[str, ...]) -> tuple[str, ...]:
    if not all(re.fullmatch(r"[0-9a-f]{64}", key) for key in keys):
        raise ValueError("a public key is 64 hexadecimal digits")
    return keys


class ClinicSettings(_Section):
    """The clinical side: one institution's archive and worklist."""

    institution_name: str = Field("Demonstration Hospital", description="Institution Name written into results.")
    database_url: str | None = Field(None, description="SQLAlchemy address; SQLite under the state folder when absent.")
    quiet_s: float = Field(
        0.5,
        gt=0,
        le=3600,
        description="Seconds without a new instance after which a series that came in several requests counts as whole.",
    )
    study_quiet_s: float = Field(
        5.0,
        gt=0,
        le=86400,
        description="Seconds without a new instance after which a study of unknown size counts as complete.",
    )
    disk_low_bytes: int = Field(2 * 1024**3, ge=0, description="Below this much free disk new studies are refused.")
    disk_reserve_bytes: int = Field(
        512 * 1024**2,
        ge=0,
        description="Below this much free disk nothing is stored at all; kept for results and the ledger.",
    )
    label_map_segmentation: Literal["auto", "never"] = Field(
        "auto",
        description="auto writes more than 20 segments as a label map; never is for archives that refuse its SOP class.",
    )
    network_url: str | None = Field(None, description="Address of the network side; this process's own when absent.")
    network_token: SecretStr | None = Field(None, description="Credential for a remote network side.")
    data_class_out_max: Literal["P0", "P1", "P2", "P3"] = Field(
        "P3",
        description="The most sensitive data class given to another hub's network side, which holds the keys of open Offers.",
    )
    foreign_cells: bool = Field(
        True,
        description="Other operators' cells may have what their standing allows; else this institution's own alone.",
    )
    residency: Annotated[tuple[str, ...], NoDecode] = Field(
        (),
        description="Countries that payloads of patients may be in (ISO 3166-1 alpha-2), joined by commas; any when empty.",
    )
    pipelines: Annotated[tuple[str, ...], NoDecode] = Field(
        (),
        description="Pipelines that are on, joined by commas or a JSON list; all whose weights are here when empty.",
    )
    pipeline_files: Path | None = Field(
        None, description="Folder of this site's own pipelines (YAML); `pipelines` in the state folder when absent."
    )

    @field_validator("residency", mode="before")
    @classmethod
    def _countries_listed(cls, value: object) -> object:
        """A JSON list, or codes with commas or blanks between them."""
        return _split(value, r"[,\s]+")

    @field_validator("residency")
    @classmethod
    def _countries(cls, codes: tuple[str, ...]) -> tuple[str, ...]:
        if not all(re.fullmatch(r"[A-Z]{2}", code) for code in codes):
            raise ValueError("a country is two capital letters (ISO 3166-1 alpha-2)")
        return codes

    @field_validator("pipelines", mode="before")
    @classmethod
    def _listed(cls, value: object) -> object:
        """A JSON list, or names with commas, colons or blanks between them."""
        return _split(value, r"[,:\s]+")

    @field_validator("pipelines")
    @classmethod
    def _names(cls, names: tuple[str, ...]) -> tuple[str, ...]:
        if not all(re.fullmatch(r"[A-Za-z][A-Za-z0-9_]{2,63}", name) for name in names):
            raise ValueError("a pipeline's name has 3 to 64 letters, digits and underscores")
        return names


class NetworkSettings(_Section):
    """The network side: broker and ledger."""

    database_url: str | None = Field(None, description="SQLAlchemy address; SQLite under the state folder when absent.")
    ledger_database_url: str | None = Field(
        None, description="SQLAlchemy address of the ledger; SQLite under the state folder when absent."
    )
    epoch_s: float = Field(86400.0, gt=0, description="Length of an accounting period, in seconds.")
    public_work_per_hour: float = Field(
        4.0,
        ge=0,
        le=3600,
        description="Canaries and benchmarks, at the network's own expense, for each contributed cell; 0 for none.",
    )
    simulated_attesters: Annotated[tuple[str, ...], NoDecode] = Field(
        (),
        description="Ed25519 keys (hexadecimal, joined by commas) whose simulated attestation counts; demo mode only, it proves nothing.",
    )
    witnesses: Annotated[tuple[str, ...], NoDecode] = Field(
        (),
        description="Verifier keys of the witnesses whose cosignatures are kept, joined by commas or a JSON list.",
    )

    @field_validator("simulated_attesters", "witnesses", mode="before")
    @classmethod
    def _listed(cls, value: object) -> object:
        """A JSON list, or keys with commas or blanks between them."""
        return _split(value, r"[,\s]+")

    _attester_keys = field_validator("simulated_attesters")(_public_keys)

    @field_validator("witnesses")
    @classmethod
    def _verifier_keys(cls, keys: tuple[str, ...]) -> tuple[str, ...]:
        if not all(re.fullmatch(r"[^+\s]+\+[0-9a-f]{8}\+[A-Za-z0-9+/=]+", key) for key in keys):
            raise ValueError("a witness is named by its verifier key: name+id+base64")
        return keys


class CellSettings(_Section):
    """The cell that this process starts beside the hub, or that `bithive node` runs."""

    embedded: bool = Field(True, description="Start a local cell beside the hub.")
    hub_url: str | None = Field(None, description="Address of the network side this cell pulls from.")
    token: SecretStr | None = Field(None, description="Credential of the cell.")
    operator: str = Field("local", min_length=1, max_length=64, description="Who is paid for the cell's work.")
    slots: int = Field(1, ge=1, le=200, description="Attempts taken at once.")
    replicas_min: int | None = Field(
        None,
        ge=0,
        le=200,
        description="Replicas that stay loaded while nothing is asked, others start on demand; empty for one in every slot.",
    )
    threads: int = Field(0, ge=0, le=1024, description="Processor threads a replica uses; 0 for all of them.")
    engine: Literal["auto", "torch", "onnxruntime", "openvino"] = Field(
        "auto",
        description="Inference engine; auto takes the fastest measured here whose parity the bundle accepts. Rules need none.",
    )
    memory_bytes: int = Field(
        0,
        ge=0,
        description="Main memory that one slot may take; 0 for an equal share of what the machine can spare.",
    )
    warm_max: int = Field(4, ge=1, le=100, description="Bundles that one slot keeps loaded at most, as memory allows.")
    data_class_max: Literal["P0", "P1", "P2", "P3"] = Field(
        "P3", description="The most sensitive data class this cell takes; P3 is for an institution's own cell."
    )
    tier: Literal["home", "workstation", "datacenter", "hospital"] = Field(
        "workstation",
        description="What kind of place the cell says it is in; what counts is what the network side registered.",
    )
    residency: str = Field(
        "", pattern=r"^([A-Z]{2})?$", description="Country the cell says it is in (ISO 3166-1 alpha-2); empty: untold."
    )
    simulated_attester: bool = Field(
        False, description="Attest by software that vouches for itself; demo mode only, it proves nothing."
    )


class AccountSettings(_Section):
    """Who may sign in."""

    database_url: str | None = Field(None, description="SQLAlchemy address; SQLite under the state folder when absent.")


_PERMISSIVE = (
    *("Apache-2.0", "MIT", "BSD-2-Clause", "BSD-3-Clause", "ISC", "CC0-1.0", "PDDL-1.0", "CC-BY-4.0"),
    *("Unlicense", "0BSD", "Zlib"),
)


class ModelSettings(_Section):
    """Where bundles and weights live and come from."""

    store: Path | None = Field(
        None, description="Content-addressed store of weights; under the state folder when absent."
    )
    trusted_keys: tuple[str, ...] = Field(
        (),
        description="Ed25519 public keys (hexadecimal) whose signed bundles are trusted besides this installation's.",
    )
    licences: tuple[str, ...] = Field(
        _PERMISSIVE,
        description="SPDX identifiers; a bundle whose weights have another licence is matched with nothing.",
    )

    _keys = field_validator("trusted_keys")(_public_keys)


class TracingSettings(_Section):
    """Traces of studies from upload to Receipt; none are made unless they are sent somewhere."""

    endpoint: str | None = Field(
        None, description="OTLP/HTTP address that traces are posted to, path included; off when absent."
    )
    share: float = Field(1.0, ge=0, le=1, description="Share of new traces that are kept.")
    token: SecretStr | None = Field(None, description="Bearer token for the collector, if it wants one.")

    @field_validator("endpoint")
    @classmethod
    def _address(cls, value: str | None) -> str | None:
        if value and not re.fullmatch(r"https?://[^\s/@]+(/\S*)?", value):
            raise ValueError("a collector's address is http://... or https://... without a user or password")
        return value or None


class Settings(BaseSettings):
    """All settings of one process."""

    model_config = SettingsConfigDict(
        env_prefix="BITHIVE_",
        env_nested_delimiter="__",
        frozen=True,
        extra="forbid",
    )

    mode: Mode = Field(Mode.PRODUCTION, description="production or demo.")
    role: Role = Field(Role.BOTH, description="clinical, network or both.")
    state: Path = Field(Path("state"), description="Folder of everything that must survive a restart.")
    secret: SecretStr | None = Field(
        None,
        description="At least 32 characters; sessions, links and result UIDs are derived from it. Required in production.",
    )
    model_mirrors: Annotated[tuple[Path, ...], NoDecode] = Field(
        (),
        description="Folders searched for weights and bundles before any download, joined as in PATH or a JSON list.",
    )
    log_level: Literal["debug", "info", "warning", "error"] = Field(
        "info", description="Least severe event that is logged."
    )
    http: HttpSettings = HttpSettings()
    clinic: ClinicSettings = ClinicSettings()
    network: NetworkSettings = NetworkSettings()
    cell: CellSettings = CellSettings()
    models: ModelSettings = ModelSettings()
    accounts: AccountSettings = AccountSettings()
    tracing: TracingSettings = TracingSettings()

    @field_validator("model_mirrors", mode="before")
    @classmethod
    def _folders(cls, value: object) -> object:
        """A JSON list, or folders joined as in PATH."""
        if not isinstance(value, str):
            return value
        if value.lstrip().startswith("["):
            return json.loads(value)
        return tuple(Path(part) for part in value.split(os.pathsep) if part)

    @property
    def simulated(self) -> bool:
        """Whether simulated attestation is switched on, made or taken."""
        return bool(self.network.simulated_attesters) or self.cell.simulated_attester

    @property
    def model_store(self) -> Path:
        """The content-addressed store of weights."""
        return self.models.store or self.state / "models"

    @property
    def pipeline_files(self) -> Path:
        """The folder of this site's own pipelines."""
        return self.clinic.pipeline_files or self.state / "pipelines"

    def database_url(self, name: Literal["clinic", "network", "ledger", "accounts"]) -> str:
        """SQLAlchemy address of one of the databases."""
        given = {
            "clinic": self.clinic.database_url,
            "network": self.network.database_url,
            "ledger": self.network.ledger_database_url,
            "accounts": self.accounts.database_url,
        }[name]
        return given or f"sqlite:///{self.state.absolute()}/{name}.db"


def load(**overrides: object) -> Settings:
    """The settings of this process, from its environment and `overrides`.

    Raises
    ------
    BadSettings
        If a value is out of range, or a `BITHIVE_` variable is not a setting.
    SimulatedInProduction
        If simulated attestation is on outside demo mode.
    """
    unknown = sorted(name for name in _variables() if name.upper() not in {*names(), *_NOT_SETTINGS})
    if unknown:
        raise BadSettings(f"not a setting: {', '.join(unknown)}")
    try:
        settings = Settings(**overrides)  # type: ignore[arg-type]
    except ValidationError as error:
        places = "; ".join(
            f"{'.'.join(map(str, item['loc']))}: {item['msg']}" for item in error.errors(include_input=False)
        )
        raise BadSettings(places) from None
    except SettingsError as error:
        raise BadSettings(str(error)) from None
    if settings.simulated and settings.mode is not Mode.DEMO:
        raise SimulatedInProduction("remove BITHIVE_NETWORK__SIMULATED_ATTESTERS and BITHIVE_CELL__SIMULATED_ATTESTER")
    return settings


def names() -> dict[str, str]:
    """Each environment variable that is a setting, with its description."""
    found: dict[str, str] = {}
    for name, field in Settings.model_fields.items():
        section = field.annotation
        if isinstance(section, type) and issubclass(section, _Section):
            for inner, member in section.model_fields.items():
                found[f"BITHIVE_{name}__{inner}".upper()] = member.description or ""
        else:
            found[f"BITHIVE_{name}".upper()] = field.description or ""
    return found


def child_environment(variables: Mapping[str, str]) -> dict[str, str]:
    """The environment of a child process: this one's without any `BITHIVE_` variable, then `variables`.

    A child is told what it needs and nothing else; the hub's secret, for one, never reaches a cell.
    """
    kept = {name: value for name, value in os.environ.items() if not name.startswith("BITHIVE_")}
    return {**kept, **variables}


def inherited_environment(variables: Mapping[str, str]) -> dict[str, str]:
    """The environment of a child that is this very program again: all of this one's, then `variables`."""
    return {**os.environ, **variables}


def _variables() -> list[str]:
    return [name for name in os.environ if name.upper().startswith("BITHIVE_")]
