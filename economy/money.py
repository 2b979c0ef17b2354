"""The assets of the first products, and how amounts are written for people.

`EUR` is kept in millionths (scale 6), not cents, so that a price a work unit is exact; invoices round, the ledger does
not. `BTT` is kept in millionths and is scaled to a chain's decimals at the bridge. `WU` counts reference work units;
`RU` counts them weighed by quality and speed, to four decimals: what rewards follow from.
"""

from __future__ import annotations

from economy.entry import Asset

EUR = Asset("EUR", 6, "fiat")
BTT = Asset("BTT", 6, "token")
WU = Asset("WU", 0, "work")
RU = Asset("RU", 4, "reward")
ASSETS = (EUR, BTT, WU, RU)


def decimal_text(amount: int, scale: int) -> str:
    """An integer amount as an exact decimal with `scale` places: `decimal_text(-1500000, 6)` is `-1.500000`."""
    if scale == 0:
        return str(amount)
    whole, part = divmod(abs(amount), 10**scale)
    return f"{'-' if amount < 0 else ''}{whole}.{part:0{scale}d}"


def format_amount(amount: int, asset: Asset) -> str:
    """An amount for a person: exact, at least two decimals where there are any, thousands apart by narrow spaces.

    `format_amount(1234567800000, EUR)` is `1 234 567.80 EUR` (with U+202F between the groups).
    """
    whole, _, part = decimal_text(abs(amount), asset.scale).partition(".")
    part = part.rstrip("0").ljust(min(2, asset.scale), "0")
    grouped = f"{int(whole):,}".replace(",", "\u202f")
    sign = "\u2212" if amount < 0 else ""
    return f"{sign}{grouped}{'.' if part else ''}{part} {asset.code}"
