from bithive import limits


def test_each_limit_names_its_unit_and_is_positive():
    units = ("_BYTES_MAX", "_S", "_MAX", "KIB", "MIB", "GIB", "_S_MAX", "_BPS_MIN")
    for name, value in vars(limits).items():
        if name.isupper():
            assert name.endswith(units), name
            assert value > 0, name


def test_a_lease_outlives_two_lost_heartbeats():
    assert limits.LEASE_DURATION_S >= 3 * limits.HEARTBEAT_PERIOD_S
    assert limits.OFFER_DEADLINE_S > limits.LEASE_DURATION_S * limits.ATTEMPTS_MAX


def test_a_receipt_at_its_longest_fits():
    from dataclasses import fields

    from bithive.canonical import canonical
    from bithive.receipt import Receipt

    longest = {"str": "x" * 200, "int": 2**53 - 1, "bool": False}
    size = len(canonical({field.name: longest[field.type] for field in fields(Receipt)}))
    assert size <= limits.RECEIPT_BYTES_MAX
