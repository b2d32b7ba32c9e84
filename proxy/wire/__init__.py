"""What bytes mean: SSE, and one package per dialect. Pure: no I/O, no clock."""
