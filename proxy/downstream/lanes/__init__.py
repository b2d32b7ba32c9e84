"""``GET /v1/responses`` as a WebSocket: OpenAI's own mode of the Responses dialect, in lanes."""
