"""How the networks of ours were made: one folder each, run by hand, never imported by the product."""
