import hashlib

import pytest

from bithive.clock import ManualClock
from models.errors import DownloadFailed, DownloadTooLarge, WeightsDiffer
from models.fetch_http import Expected, downloaded
from tests.unit.models.web import serving

CONTENT = bytes(range(256)) * 4096
SHA256 = hashlib.sha256(CONTENT).hexdigest()
EXPECTED = Expected(sha256=SHA256)


@pytest.fixture
def web():
    with serving() as found:
        found.files["/file"] = CONTENT
        yield found


@pytest.fixture
def fetch(web, tmp_path):
    def fetched(path="/file", expected=EXPECTED, seen=None, clock=None):
        tell = (lambda _what, share: seen.append(share)) if seen is not None else (lambda _what, _share: None)
        with downloaded(web.url(path), tmp_path / "partial", expected, tell, clock=clock, loopback=True) as found:
            return found.read_bytes()

    return fetched


def left(tmp_path):
    return {path.name: path.stat().st_size for path in (tmp_path / "partial").iterdir()}


def test_what_is_fetched_is_what_was_expected(fetch, tmp_path):
    seen = []
    assert fetch(seen=seen) == CONTENT
    assert seen == sorted(seen)
    assert seen[-1] == 1.0
    assert left(tmp_path) == {}
    assert fetch(expected=Expected(sha1=hashlib.sha1(CONTENT).hexdigest(), size_bytes=len(CONTENT))) == CONTENT
    assert fetch(expected=Expected()) == CONTENT


def test_what_broke_off_goes_on_where_it_broke(fetch, web):
    web.cut["/file"] = [200_000, 300_000, 0]
    assert fetch() == CONTENT
    starts = [int(wanted.removeprefix("bytes=").rstrip("-")) if wanted else 0 for _, wanted in web.asked]
    assert starts == sorted(starts)
    assert len(starts) == 4
    assert starts[1] == 200_000


def test_another_day_goes_on_where_the_first_one_gave_up(fetch, web, tmp_path):
    web.cut["/file"] = [100_000, 0, 0, 0, 0]
    with pytest.raises(DownloadFailed) as failed:
        fetch()
    assert failed.value.context["size_bytes"] == 100_000
    assert left(tmp_path) == {SHA256: 100_000}
    web.cut.clear()
    assert fetch() == CONTENT
    assert web.asked[-1] == ("/file", "bytes=100000-")


def test_a_server_without_ranges_begins_anew(fetch, web):
    web.ranges = False
    web.cut["/file"] = [200_000]
    assert fetch() == CONTENT


def test_a_file_of_unknown_digest_is_never_resumed(fetch, web, tmp_path):
    web.cut["/file"] = [100_000, 0, 0, 0, 0]
    with pytest.raises(DownloadFailed):
        fetch(expected=Expected())
    web.cut.clear()
    assert fetch(expected=Expected()) == CONTENT
    assert web.asked[-1] == ("/file", None)


@pytest.mark.parametrize("wrong", [b"x" * 500_000, CONTENT + b"more", b"x" * (len(CONTENT) + 7)])
def test_a_spoilt_beginning_is_thrown_away_and_fetched_anew(fetch, tmp_path, wrong):
    (tmp_path / "partial").mkdir()
    (tmp_path / "partial" / SHA256).write_bytes(wrong)
    assert fetch() == CONTENT


def test_another_content_is_not_taken(fetch, web, tmp_path):
    web.files["/file"] = CONTENT[:-1] + b"?"
    for expected in (EXPECTED, Expected(sha1="0" * 40), Expected(sha256=SHA256, size_bytes=len(CONTENT))):
        with pytest.raises(WeightsDiffer):
            fetch(expected=expected)
    assert left(tmp_path) == {}


def test_too_much_is_refused_before_or_while_it_comes(fetch, web, tmp_path):
    with pytest.raises(DownloadTooLarge):
        fetch(expected=Expected(sha256=SHA256, size_bytes_max=len(CONTENT) - 1))
    web.endless.add("/endless")
    with pytest.raises(DownloadTooLarge) as refused:
        fetch("/endless", Expected(size_bytes_max=1_000_000))
    assert refused.value.code == "download-too-large"
    assert left(tmp_path) == {}


def test_a_content_length_that_lies_helps_nobody(fetch, web, tmp_path):
    web.headers["/file"] = {"Content-Length": str(10**15)}
    with pytest.raises(DownloadTooLarge):
        fetch()
    web.headers["/file"] = {"Content-Length": str(len(CONTENT) + 10)}
    with pytest.raises((DownloadFailed, WeightsDiffer)):
        fetch()
    web.headers["/file"] = {"Content-Length": "10"}
    with pytest.raises((DownloadFailed, WeightsDiffer)):
        fetch()


def test_redirects_are_few_and_lead_to_https_only(fetch, web):
    web.redirect |= {
        "/a": "/b",
        "/b": "/file",
        "/loop": "/loop",
        "/out": "http://example.org/x",
        "/file2": "file:///etc",
    }
    assert fetch("/a") == CONTENT
    for path in ("/loop", "/out", "/file2"):
        with pytest.raises(DownloadFailed):
            fetch(path)
    assert sum(path == "/loop" for path, _ in web.asked) <= 6


@pytest.mark.parametrize("status", [204, 206, 304, 403, 404, 500])
def test_other_answers_are_failures(fetch, web, status):
    web.status["/file"] = status
    with pytest.raises(DownloadFailed):
        fetch()


def test_a_packed_answer_is_not_unpacked(fetch, web):
    web.headers["/file"] = {"Content-Encoding": "gzip"}
    with pytest.raises(DownloadFailed):
        fetch()


def test_a_range_that_was_not_asked_for_is_refused(fetch, web, tmp_path):
    (tmp_path / "partial").mkdir()
    (tmp_path / "partial" / SHA256).write_bytes(CONTENT[:1000])
    web.headers["/file"] = {"Content-Range": f"bytes 5-{len(CONTENT) - 1}/{len(CONTENT)}"}
    with pytest.raises(DownloadFailed):
        fetch()


class Racing(ManualClock):
    def monotonic_s(self):
        self.advance_s(3600)
        return super().monotonic_s()


def test_a_download_ends_some_day(fetch):
    with pytest.raises(DownloadFailed, match="too long"):
        fetch(clock=Racing())


@pytest.mark.parametrize(
    "address", ["http://127.0.0.1:1/x", "ftp://a/b", "https://user:word@a.example/x", "https:///x", "x"]
)
def test_only_https_without_credentials_is_an_address(address, tmp_path):
    with pytest.raises(DownloadFailed), downloaded(address, tmp_path, EXPECTED, lambda _what, _share: None):
        pass


def test_nobody_there(tmp_path):
    with serving() as web:
        address = web.url("/file")
    with pytest.raises(DownloadFailed):
        with downloaded(address, tmp_path, EXPECTED, lambda _what, _share: None, loopback=True):
            pass
