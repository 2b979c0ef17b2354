import pickle

import pytest

from bithive import errors
from bithive.errors import BitHiveError, LimitExceeded, leaves

BRANCHES = [cls for cls in BitHiveError.__subclasses__() if cls.__module__ == errors.__name__]


def test_codes_are_unique_and_readable():
    codes = [leaf.code for leaf in leaves() if not leaf.__module__.split(".")[-1].startswith("test_")]
    assert len(codes) == len(set(codes))
    assert all(code.replace("-", "").isalnum() and code == code.lower() for code in codes)


def test_each_branch_has_its_status():
    branches = {cls.__name__: cls.status for cls in BRANCHES}
    assert branches == {
        "BadInput": 400,
        "Unauthenticated": 401,
        "Forbidden": 403,
        "NotFound": 404,
        "Conflict": 409,
        "LimitExceeded": 413,
        "Unsupported": 415,
        "Refused": 422,
        "Unavailable": 503,
        "Fault": 500,
    }


def test_the_drawing_in_the_docstring_is_the_tree():
    for cls in BRANCHES:
        line = next(line for line in errors.__doc__.splitlines() if f" {cls.__name__} " in line)
        assert str(cls.status) in line


def test_detail_and_context():
    error = LimitExceeded("too many", limit=3)
    assert (str(error), error.detail, error.context) == ("limit-exceeded: too many", "too many", {"limit": 3})
    assert LimitExceeded().detail == LimitExceeded.title


@pytest.mark.parametrize("leaf", [leaf for leaf in leaves() if leaf.__module__.startswith("bithive.")])
def test_it_survives_another_process(leaf):
    error = pickle.loads(pickle.dumps(leaf("why", count=1)))
    assert (type(error), error.detail, error.context) == (leaf, "why", {"count": 1})
