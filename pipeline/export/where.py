"""Rows chosen by an SQL condition, which DuckDB reads and evaluates."""

from __future__ import annotations

from typing import Any

import duckdb
import pyarrow as pa

from pipeline.rows.errors import ConfigError

__all__ = ["Where"]


class Where:
    """A condition over the columns of a table. It can name these and nothing else: no file, no
    other table, no second statement. Carried columns of types that DuckDB has not, as decimals of
    256 bits, it does not see.

    Args:
        schema: the columns that captions have.

    Raises:
        ConfigError: if it is no condition over these.
    """

    def __init__(self, condition: str, schema: pa.Schema) -> None:
        self._condition = condition
        config: dict[str, Any] = {
            "enable_external_access": "false",
            "threads": "1",
            "lock_configuration": "true",
        }
        self._connection = duckdb.connect(":memory:", config=config)
        self._seen = [each.name for each in schema if self._reads(each)]
        self(schema.empty_table())  # of which an aggregate makes a row,
        self(pa.Table.from_pylist([{}], schema=schema))  # and unnest() no row

    def __call__(self, table: pa.Table) -> pa.Table:
        """The rows of which it is true, in their order; neither of which it is false nor null.

        Raises:
            ConfigError: naming what DuckDB has against it.
        """
        try:
            relation = self._connection.from_arrow(table.select(self._seen))
            found = relation.project(f"({self._condition}) AS keep")
            kind, mask = str(found.types[0]), found.to_arrow_table()["keep"]
        except duckdb.Error as exc:
            raise ConfigError(f"where: {' '.join(str(exc).split())}") from exc
        # Aggregates and unnest() give another number of rows.
        if kind != "BOOLEAN" or len(mask) != table.num_rows:
            raise ConfigError(f"where: {self._condition} is no condition of one row ({kind})")
        return table.filter(mask)

    def _reads(self, column: pa.Field) -> bool:
        try:
            self._connection.from_arrow(pa.schema([column]).empty_table())
        except duckdb.NotImplementedException:
            return False
        return True
