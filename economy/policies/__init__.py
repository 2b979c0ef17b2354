"""Rules as data: prices, emission, rewards. One JSON file a version; a file that has been in force is never edited.

Every version is declared in the ledger by an entry of its own, and every decision names the version it was made by.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path

from bithive.canonical import canonical
from economy.entry import Policy
from economy.errors import BadPolicy

_FOLDER = Path(__file__).parent


def load(folder: Path = _FOLDER) -> list[Policy]:
    """All policies of a folder, by kind and version.

    Raises
    ------
    BadPolicy
        If a file is not a policy, or two hold the same version.
    """
    found: dict[tuple[str, int], Policy] = {}
    for path in sorted(folder.glob("*.json")):
        try:
            value = json.loads(path.read_text())
            content = canonical(value["content"]).decode()
            policy = Policy(value["kind"], value["version"], value["effective_from_ms"], content)
        except (KeyError, TypeError, ValueError) as error:
            raise BadPolicy(f"{path.name} is not a policy") from error
        if (policy.kind, policy.version) in found:
            raise BadPolicy(f"{path.name} repeats a version")
        found[policy.kind, policy.version] = policy
    return [found[key] for key in sorted(found)]


def in_force(policies: Iterable[Policy], kind: str, at_ms: int) -> Policy:
    """The version of a kind that holds at a time: the last one whose time has come.

    Raises
    ------
    BadPolicy
        If none does.
    """
    due = [policy for policy in policies if policy.kind == kind and policy.effective_from_ms <= at_ms]
    if not due:
        raise BadPolicy(f"no {kind} is in force")
    return max(due, key=lambda policy: (policy.effective_from_ms, policy.version))
