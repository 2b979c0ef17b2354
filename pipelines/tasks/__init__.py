"""Clinical tasks: one file, one frozen `PIPELINE` each, named as its file."""
