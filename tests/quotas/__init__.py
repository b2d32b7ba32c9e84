"""That limits hold: against each other's stores, under load, and when workers and clients die."""
