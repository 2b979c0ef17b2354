"""Tests. They mirror the tree; `unit/<package>/test_<file>.py` tests `<package>/<file>.py`."""
