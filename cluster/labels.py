"""Words by which machines are told apart: tier, residency, and the labels of a Ray node.

A label's syntax is Kubernetes' (https://kubernetes.io/docs/concepts/overview/working-with-objects/labels/), which Ray's
node labels share: at most 63 characters, letters, digits, `-`, `_` and `.`, a letter or digit at both ends; a key may
have a prefix before a slash. Labels say where something may run inside one cell. Nothing outside trusts them.
"""

from __future__ import annotations

import re
from enum import StrEnum

from bithive.errors import BadInput

WORD_LENGTH_MAX = 63
_WORD = re.compile(r"[A-Za-z0-9]([A-Za-z0-9_.-]{0,61}[A-Za-z0-9])?")
_PREFIX = "bithive"

_RESIDENCIES = """
AD AE AF AG AI AL AM AO AQ AR AS AT AU AW AX AZ BA BB BD BE BF BG BH BI BJ BL BM BN BO BQ BR BS BT BV BW BY BZ
CA CC CD CF CG CH CI CK CL CM CN CO CR CU CV CW CX CY CZ DE DJ DK DM DO DZ EC EE EG EH ER ES ET FI FJ FK FM FO FR
GA GB GD GE GF GG GH GI GL GM GN GP GQ GR GS GT GU GW GY HK HM HN HR HT HU ID IE IL IM IN IO IQ IR IS IT
JE JM JO JP KE KG KH KI KM KN KP KR KW KY KZ LA LB LC LI LK LR LS LT LU LV LY
MA MC MD ME MF MG MH MK ML MM MN MO MP MQ MR MS MT MU MV MW MX MY MZ NA NC NE NF NG NI NL NO NP NR NU NZ OM
PA PE PF PG PH PK PL PM PN PR PS PT PW PY QA RE RO RS RU RW SA SB SC SD SE SG SH SI SJ SK SL SM SN SO SR SS ST SV SX SY
SZ TC TD TF TG TH TJ TK TL TM TN TO TR TT TV TW TZ UA UG UM US UY UZ VA VC VE VG VI VN VU WF WS YE YT ZA ZM ZW
"""
RESIDENCIES = frozenset(_RESIDENCIES.split())
"""ISO 3166-1 alpha-2: the officially assigned codes."""


class Tier(StrEnum):
    """What kind of place a machine stands in."""

    HOME = "home"
    """Somebody's home."""
    WORKSTATION = "workstation"
    """An office or a laboratory."""
    DATACENTER = "datacenter"
    """A locked rack."""
    HOSPITAL = "hospital"
    """An institution that treats patients."""


class BadLabel(BadInput):
    code, title = "bad-label", "A tier, residency or label is malformed"


def tier(word: str) -> Tier:
    """The tier of that name. Raises `BadLabel`."""
    try:
        return Tier(word)
    except ValueError:
        raise BadLabel(f"a tier is one of {', '.join(Tier)}") from None


def residency(code: str) -> str:
    """`code` if it is empty (untold) or a country of ISO 3166-1 alpha-2, in capitals. Raises `BadLabel`."""
    capitals = code.upper() if code.isascii() else code
    if capitals and capitals not in RESIDENCIES:
        raise BadLabel("a residency is a country's two letters (ISO 3166-1 alpha-2)")
    return capitals


def is_word(text: str) -> bool:
    """Whether it may be a label's value."""
    return _WORD.fullmatch(text) is not None


def word(text: str) -> str:
    """The nearest label value to any text: what does not fit becomes `-`; `none` when nothing is left."""
    plain = re.sub(r"[^A-Za-z0-9_.-]", "-", text)[:WORD_LENGTH_MAX].strip("-_.")
    return plain or "none"


def key(name: str) -> str:
    """The key of one of our labels: `bithive/tier`. Raises `BadLabel`."""
    if not is_word(name):
        raise BadLabel("a label's name has at most 63 letters, digits, - _ and ., a letter or digit at both ends")
    return f"{_PREFIX}/{name}"


def node_labels(tier: Tier, residency: str, operator: str, accelerator: str, node_key: str) -> dict[str, str]:
    """The labels of a Ray node: static, so a changed one means another raylet.

    Parameters
    ----------
    tier, residency, operator, accelerator
        What is said of the machine; `accelerator` is `cpu` or a kind of GPU.
    node_key
        Its Ed25519 public key, hexadecimal: 64 digits are one too many for a label, 40 name it well enough.
    """
    told = {
        "tier": str(tier),
        "residency": residency or "none",
        "operator": word(operator),
        "accelerator": word(accelerator or "cpu"),
        "node": node_key[:40] or "none",
    }
    return {key(name): value for name, value in told.items()}
