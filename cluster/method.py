"""When two computations can be held against each other."""

from __future__ import annotations

from bithive.receipt import Receipt


def comparable(one: Receipt, other: Receipt) -> bool:
    """Whether equal input must have given equal findings, byte for byte.

    The same bundle, computed by the same method (`Receipt.method`: engine and its version, precision, device, threads,
    TF32, bf16), and a method that says of itself that it repeats. A sum of floats depends on all of these; where one
    differs, findings may only be compared within the parity that the bundle declares.
    """
    same_bundle = one.bundle_sha256 == other.bundle_sha256
    return same_bundle and one.method == other.method and one.deterministic
