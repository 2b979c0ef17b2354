"""Fetches a file over HTTPS: resumed where it broke off, bounded while it streams, and never used before it is verified.

What has arrived lies under the store's `partial/` and is named by what it is to become, so that another process, or
another day, goes on from there with a Range request (RFC 9110, section 14).
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import httpx2

from bithive.clock import Clock, SystemClock
from bithive.limits import BUNDLE_DOWNLOAD_BYTES_MAX
from models.errors import DownloadFailed, DownloadTooLarge, WeightsDiffer

Progress = Callable[[str, float], None]

_REDIRECTS_MAX = 5
_ATTEMPTS_MAX = 30
_BARREN_MAX = 3
_CONNECT_S = 15.0
_SILENCE_S = 30.0
_WHOLE_S = 4 * 3_600.0
_LOOPBACK = frozenset({"127.0.0.1", "::1", "localhost"})
_RANGE = re.compile(r"bytes (\d+)-(\d+)/(\d+|\*)")
_REDIRECTIONS = frozenset({301, 302, 303, 307, 308})


@dataclass(frozen=True, slots=True)
class Expected:
    """What is known of a file before it is fetched.

    Attributes
    ----------
    sha256, sha1
        In hexadecimal, where known; a file of which neither is known is not resumed.
    size_bytes
        Exact size, where known.
    size_bytes_max
        More than that is refused while it streams.
    """

    sha256: str | None = None
    sha1: str | None = None
    size_bytes: int | None = None
    size_bytes_max: int = BUNDLE_DOWNLOAD_BYTES_MAX

    @property
    def limit_bytes(self) -> int:
        """The most that may arrive."""
        return min(self.size_bytes_max, self.size_bytes or self.size_bytes_max)

    def is_met_by(self, path: Path) -> bool:
        """Whether a file is what is expected."""
        if self.size_bytes is not None and path.stat().st_size != self.size_bytes:
            return False
        for algorithm, wanted in (("sha256", self.sha256), ("sha1", self.sha1)):
            with path.open("rb") as file:
                if wanted and hashlib.file_digest(file, algorithm).hexdigest() != wanted:
                    return False
        return True


class _Broken(Exception):
    """The connection ended early; what has arrived is kept."""


@contextmanager
def downloaded(
    address: str,
    folder: Path,
    expected: Expected,
    progress: Progress,
    *,
    clock: Clock | None = None,
    loopback: bool = False,
) -> Iterator[Path]:
    """A verified file from an address; it is gone after the block.

    Parameters
    ----------
    address
        HTTPS.
    folder
        Where unfinished downloads are kept; one process at a time may use it (the store's lock).
    expected
        How to know it, and how large it may be.
    progress
        Told the fraction that has arrived, where the size is known.
    clock
        Bounds the whole download.
    loopback
        Accept plain HTTP from this machine itself: for tests.

    Raises
    ------
    DownloadFailed
        If the address is not HTTPS, does not answer, redirects too often, or breaks off again and again.
    DownloadTooLarge
        If more is announced or sent than expected.
    WeightsDiffer
        If what arrived is not what is expected.
    """
    folder.mkdir(parents=True, exist_ok=True)
    known = expected.sha256 or expected.sha1
    path = folder / (known or hashlib.sha256(address.encode()).hexdigest())
    if not known:
        path.unlink(missing_ok=True)
    fetch = _Fetch(address, path, expected, progress, clock or SystemClock(), loopback)
    resumed = path.exists()
    fetch.run()
    if not expected.is_met_by(path):
        path.unlink()
        if resumed:
            fetch.run()
        if not (resumed and expected.is_met_by(path)):
            path.unlink(missing_ok=True)
            raise WeightsDiffer("the address gave another file than the expected one", address=address[:200])
    progress(address, 1.0)
    yield path
    path.unlink(missing_ok=True)


class _Fetch:
    """One file of one address: asks again where it broke off, as long as something arrives."""

    def __init__(
        self, address: str, path: Path, expected: Expected, progress: Progress, clock: Clock, loopback: bool
    ) -> None:
        self._address = address
        self._path = path
        self._expected = expected
        self._progress = progress
        self._clock = clock
        self._loopback = loopback

    def run(self) -> None:
        timeout = httpx2.Timeout(_SILENCE_S, connect=_CONNECT_S)
        end_s = self._clock.monotonic_s() + _WHOLE_S
        try:
            with httpx2.Client(timeout=timeout, trust_env=not self._loopback) as client:
                self._until_whole(client, end_s)
        except (httpx2.HTTPError, httpx2.InvalidURL) as error:
            raise DownloadFailed(f"the address cannot be reached: {type(error).__name__}") from None
        except OSError as error:
            raise DownloadFailed(f"what arrives cannot be written: {type(error).__name__}") from None

    def _until_whole(self, client: httpx2.Client, end_s: float) -> None:
        barren = 0
        for _ in range(_ATTEMPTS_MAX):
            before = self._arrived()
            try:
                self._once(client, end_s)
            except _Broken:
                barren = 0 if self._arrived() > before else barren + 1
                if barren < _BARREN_MAX:
                    continue
                break
            return
        raise DownloadFailed("the download broke off; pull again to go on from there", size_bytes=self._arrived())

    def _arrived(self) -> int:
        return self._path.stat().st_size if self._path.exists() else 0

    def _once(self, client: httpx2.Client, end_s: float) -> None:
        here = self._arrived()
        if here and here == self._expected.size_bytes:
            return
        with self._answer(client, here) as response:
            if response.status_code == 416 and here:
                self._path.unlink()
                raise _Broken
            start = self._start(response, here)
            announced = response.headers.get("Content-Length", "")
            total = start + int(announced) if announced.isdecimal() else self._expected.size_bytes
            if total is not None and total > self._expected.limit_bytes:
                self._too_large()
            try:
                self._stream(response, start, total, end_s)
            except (httpx2.TransportError, httpx2.StreamError):
                raise _Broken from None

    @contextmanager
    def _answer(self, client: httpx2.Client, here: int) -> Iterator[httpx2.Response]:
        """The first answer that is no redirection."""
        headers = {"Accept-Encoding": "identity"} | ({"Range": f"bytes={here}-"} if here else {})
        url = httpx2.URL(self._address)
        for _ in range(_REDIRECTS_MAX + 1):
            self._check(url)
            with client.stream("GET", url, headers=headers) as response:
                if response.status_code not in _REDIRECTIONS:
                    yield response
                    return
                url = url.join(response.headers.get("Location", ""))
        raise DownloadFailed("the address redirects too often", redirects_max=_REDIRECTS_MAX)

    def _check(self, url: httpx2.URL) -> None:
        local = self._loopback and url.scheme == "http" and url.host in _LOOPBACK
        if not local and (url.scheme != "https" or url.userinfo or not url.host):
            raise DownloadFailed("the address, or one that it redirects to, is not HTTPS")

    def _start(self, response: httpx2.Response, here: int) -> int:
        """Offset at which the body begins. Raises `DownloadFailed`."""
        if response.headers.get("Content-Encoding", "identity") != "identity":
            raise DownloadFailed("the address sends a packed answer that was not asked for")
        if response.status_code == 200:
            return 0
        span = _RANGE.fullmatch(response.headers.get("Content-Range", ""))
        if response.status_code == 206 and here and span is not None and int(span[1]) == here:
            return here
        raise DownloadFailed(f"the address answers {response.status_code}", status=response.status_code)

    def _stream(self, response: httpx2.Response, start: int, total: int | None, end_s: float) -> None:
        count = start
        with self._path.open("r+b" if start else "wb") as file:
            file.seek(start)
            for chunk in response.iter_raw():
                count += len(chunk)
                if count > self._expected.limit_bytes:
                    self._too_large()
                file.write(chunk)
                if self._clock.monotonic_s() > end_s:
                    raise DownloadFailed("the download takes too long", timeout_s=_WHOLE_S)
                if total:
                    self._progress(self._address, min(0.99, count / total))

    def _too_large(self) -> None:
        self._path.unlink(missing_ok=True)
        raise DownloadTooLarge("the address sends more than is allowed", size_bytes_max=self._expected.limit_bytes)
