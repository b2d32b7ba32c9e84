"""What bytes mean: SSE, and one module per dialect. Pure: no I/O, no clock."""
