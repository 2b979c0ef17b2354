"""The commands of `bithive`, one module each; `bithive.cli` imports the one that is asked for."""
