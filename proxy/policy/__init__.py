"""Who may do what, and how much: keys, owners, routes, quotas. Pure: no I/O, no clock."""
