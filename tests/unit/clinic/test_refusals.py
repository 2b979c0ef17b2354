from bithive.errors import BitHiveError
from clinic import refusals


def test_each_refusal_is_one_situation_with_a_code_of_its_own():
    found = [
        item for item in vars(refusals).values()
        if isinstance(item, type) and issubclass(item, BitHiveError) and item.__module__ == refusals.__name__
    ]  # fmt: skip
    codes = [item.code for item in found]
    assert len(found) > 20
    assert len(set(codes)) == len(codes)
    assert all(item.title and item.code == item.code.lower() for item in found)
