"""The bound on tables, whose size follows from the codebook and the parameters, not from the body."""

from ..errors import ParameterError
from .settings import Settings


def check_values(num_rows: int, *, row_size: int, fix: str, settings: Settings) -> None:
    """Return if a reply may hold a table of `num_rows` rows of `row_size` values.

    Raises:
        ParameterError: it is larger than `max_table_values`; the message tells to ask for `fix`.
    """
    num_values = num_rows * row_size
    if num_values > settings.max_table_values:
        raise ParameterError(
            f"the table has {num_rows} x {row_size} = {num_values} values, the limit is "
            f"{settings.max_table_values}; ask for {fix}"
        )
