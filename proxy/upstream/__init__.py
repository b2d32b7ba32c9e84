"""Where tokens come from: providers, behind one port. The only folder that imports an SDK."""
