"""Work on many rows in pieces, so that temporary arrays stay small beside the result."""

# Values of one temporary array: 16 MiB in float64.
CHUNK_VALUES = 2**21


def chunks(num_rows: int, *, values_each: int) -> list[slice]:
    """Slices of `num_rows` rows, each of at most CHUNK_VALUES values or of one row."""
    size = max(1, CHUNK_VALUES // max(1, values_each))
    return [slice(start, start + size) for start in range(0, num_rows, size)]
