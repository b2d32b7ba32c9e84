"""Who may do what: keys, owners. Pure: no I/O, no clock."""
