"""`make bench`: every benchmark, or those named on the command line."""

from __future__ import annotations

import importlib
import sys

ALL = (
    "bench_stow",
    "bench_main_job",
    "bench_planar",
    "bench_pipelines",
    "bench_postprocessing",
    "bench_engines",
    "bench_memory",
    "bench_bundle_process",
    "bench_ledger",
    "bench_check",
    "bench_epoch",
    "bench_proofs",
    "bench_lease",
)


def main(names: list[str]) -> int:
    """Run them; 1 if one is unknown, 2 if something that it needs is absent."""
    if unknown := [name for name in names if name not in ALL]:
        print(f"not a benchmark: {', '.join(unknown)}; there are {', '.join(ALL)}")
        return 1
    for name in names or ALL:
        module = importlib.import_module(f"benchmarks.{name}")
        if reason := module.lacks():
            print(f"{name}: skipped, {reason}")
            continue
        module.main()
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
