"""Where tokens leave: HTTP. The only folder that imports Litestar."""
