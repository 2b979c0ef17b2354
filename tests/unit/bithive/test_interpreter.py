"""Measured in a process of its own: the tuning holds for the whole process."""

import subprocess
import sys

_CODE = """
import gc, sys
from bithive.interpreter import tune_interpreter
before, frozen = gc.get_threshold(), gc.get_freeze_count()
tune_interpreter()
assert gc.isenabled()
assert gc.get_threshold()[0] > before[0]
assert gc.get_freeze_count() > frozen + 1000
assert sys.getswitchinterval() <= 0.001
"""


def test_a_tuned_process_collects_less_and_takes_turns_more_often():
    subprocess.run([sys.executable, "-c", _CODE], check=True)
