"""Benchmarks: rival and ours on the same machine, in the same run, alternating; medians, ratios, where the time goes."""
