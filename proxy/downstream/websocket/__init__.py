"""``GET /v1/ws``: many streams on one WebSocket."""
