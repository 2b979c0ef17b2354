import hashlib
import hmac
import threading

import pytest

from bithive.errors import BadSettings, BadSignature
from bithive.keys import SigningKey, derive, fingerprint, keyed_digest, verify

# RFC 8032, section 7.1, test 2.
SEED = bytes.fromhex("4ccd089b28ff96da9db6c346ec114e0f5b8a319f35aba624da8cf6ed4fb8a6fb")
PUBLIC = "3d4017c3e843895a92b70aa74d1b7ebc9c982ccf2ec4968cc0cd55f12af4660c"
SIGNATURE = "92a009a9f0d4cab8720e820b5f642540a2b27b5416503f8fb3762223ebdb69da085ac1e43e15996e458f3613d0f11d8c387b2eaeb4302aeeb00d291612bb0c00"


def test_the_published_vector():
    key = SigningKey(SEED)
    assert (key.public_hex, key.sign(b"\x72")) == (PUBLIC, SIGNATURE)
    verify(PUBLIC, b"\x72", SIGNATURE)


@pytest.mark.parametrize(
    ("public", "message", "signature"),
    [
        (PUBLIC, b"\x73", SIGNATURE),
        (PUBLIC, b"\x72", "00" * 64),
        (PUBLIC, b"\x72", SIGNATURE[:-2]),
        (PUBLIC, b"\x72", "zz"),
        (PUBLIC, b"\x72", ""),
        ("00" * 32, b"\x72", SIGNATURE),
        ("", b"\x72", SIGNATURE),
        ("ff" * 32, b"\x72", SIGNATURE),
        ("no hex", b"\x72", SIGNATURE),
    ],
)
def test_what_does_not_hold(public, message, signature):
    with pytest.raises(BadSignature):
        verify(public, message, signature)


def test_a_key_file_is_made_once_and_private(tmp_path):
    path = tmp_path / "deep" / "node.key"
    first = SigningKey.load_or_create(path)
    assert SigningKey.load_or_create(path).public_hex == first.public_hex
    assert path.stat().st_mode & 0o777 == 0o600
    assert [entry.name for entry in path.parent.iterdir()] == ["node.key"]


def test_processes_that_start_together_get_one_key(tmp_path):
    found = []
    barrier = threading.Barrier(8)

    def start():
        barrier.wait()
        found.append(SigningKey.load_or_create(tmp_path / "node.key").public_hex)

    threads = [threading.Thread(target=start) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(found) == 8
    assert len(set(found)) == 1


@pytest.mark.parametrize("content", [b"", b"x" * 31, b"x" * 33])
def test_a_file_that_is_no_key(tmp_path, content):
    path = tmp_path / "node.key"
    path.write_bytes(content)
    path.chmod(0o600)
    with pytest.raises(BadSettings, match="32 bytes"):
        SigningKey.load_or_create(path)


def test_a_file_that_others_read(tmp_path):
    path = tmp_path / "node.key"
    path.write_bytes(SEED)
    path.chmod(0o640)
    with pytest.raises(BadSettings, match="readable by others"):
        SigningKey.load_or_create(path)


def test_digests_and_derivation_are_hmac():
    assert keyed_digest(b"k" * 32, b"bytes") == hmac.new(b"k" * 32, b"bytes", hashlib.sha256).hexdigest()
    assert keyed_digest(b"k" * 32, memoryview(b"bytes")) == keyed_digest(b"k" * 32, bytearray(b"bytes"))
    assert derive(b"k" * 32, "digest") != derive(b"k" * 32, "payload") != derive(b"l" * 32, "payload")
    assert len(derive(b"k" * 32, "digest")) == 32


def test_a_fingerprint_is_short_and_stable():
    assert fingerprint(PUBLIC) == hashlib.sha256(bytes.fromhex(PUBLIC)).hexdigest()[:20]
