"""Where tokens wait: journals and ledgers. The only folder that imports redis."""
