"""What the DICOMweb routes share."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
from starlette.requests import Request

from api.auth import Principal
from api.dicomweb.deps import base_url, instance_url, institution_of, warning_header
from api.dicomweb.errors import NoInstitution
from tests.common.dicomweb import OURS


def test_an_account_without_institution_sees_nothing(client):
    with pytest.raises(NoInstitution):
        institution_of(Principal("acc_1", "A", "auditor", frozenset(), None, None))
    answer = client.get("/dicomweb/studies", headers={"Institution": "none"})
    assert (answer.status_code, answer.json()["code"]) == (403, "no-institution")
    assert institution_of(Principal("acc_1", "A", "pacs", frozenset(), OURS, None)) == OURS


def test_addresses_and_warnings():
    assert instance_url("http://h/dicomweb", "1", "2", "3") == "http://h/dicomweb/studies/1/series/2/instances/3"
    assert warning_header() == {}
    assert warning_header("a", "b") == {"Warning": '299 bithive "a", 299 bithive "b"'}


@pytest.mark.parametrize(
    ("host", "port", "public_url", "trust_proxy", "expected"),
    [
        ("hub", 80, None, False, "http://hub/dicomweb"),
        ("hub:8042", 8042, None, False, "http://hub:8042/dicomweb"),
        ("hub", 8042, None, False, "http://hub:8042/dicomweb"),
        ("hub", 8042, None, True, "http://hub/dicomweb"),
        ("inner", 8042, "https://outer/", True, "https://outer/dicomweb"),
    ],
)
def test_the_address_that_the_client_knows(host, port, public_url, trust_proxy, expected):
    settings = SimpleNamespace(http=SimpleNamespace(public_url=public_url, trust_proxy=trust_proxy))
    scope = {
        "type": "http",
        "method": "GET",
        "path": "/",
        "query_string": b"",
        "scheme": "http",
        "headers": [(b"host", host.encode())],
        "server": ("127.0.0.1", port),
        "app": SimpleNamespace(state=SimpleNamespace(services=SimpleNamespace(settings=settings))),
    }
    assert base_url(Request(scope)) == expected
