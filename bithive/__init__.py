"""The kernel: ids, errors, limits, clock, settings, Offer, Receipt, storage. It imports nothing else of BitHive."""

__version__ = "0.1.0"
