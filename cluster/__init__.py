"""Who runs what: Offers on the network side, Attempts under Leases, Cells, Nodes, the agent, Ray."""
