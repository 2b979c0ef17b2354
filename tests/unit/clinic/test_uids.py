import re

from clinic.uids import ResultUids, site_key, successor

KEY = site_key("a secret of at least thirty-two characters")


def uids(**members) -> ResultUids:
    return ResultUids(**({"key": KEY, "input_digest": "a", "bundle_sha256": "b", "output_digest": "c"} | members))


def test_the_same_outcome_has_the_same_uid():
    assert uids().uid("seg") == uids().uid("seg")


def test_anything_different_has_another_uid():
    other = [
        uids().uid("sr"),
        uids(input_digest="x").uid("seg"),
        uids(bundle_sha256="x").uid("seg"),
        uids(output_digest="x").uid("seg"),
        uids(key=site_key("another secret of thirty-two characters")).uid("seg"),
        uids(input_digest="ab", bundle_sha256="").uid("seg"),
    ]
    assert len({uids().uid("seg"), *other}) == 7


def test_the_form_is_that_of_a_uid():
    for kind in map(str, range(200)):
        uid = uids().uid(kind)
        assert re.fullmatch(r"2\.25\.(0|[1-9]\d*)", uid)
        assert len(uid) <= 44
        assert int(uid.removeprefix("2.25.")) < 1 << 128


def test_a_node_is_one_device_whatever_it_finds():
    assert uids().device("nod_1") == uids(output_digest="x").device("nod_1") != uids().device("nod_2")


def test_successors_differ_by_origin_and_kind():
    made = {successor(KEY, "1.2", "verified"), successor(KEY, "1.3", "verified"), successor(KEY, "1.2", "rejection")}
    assert len(made) == 3


def test_the_secret_is_not_the_key():
    assert len(KEY) == 32
    assert b"secret" not in KEY
