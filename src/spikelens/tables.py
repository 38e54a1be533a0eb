"""Tables that users bring: edges and drive events, from Parquet, CSV or npz, checked row by row."""

from __future__ import annotations

import zipfile
import zlib
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from spikelens.errors import NetworkError

if TYPE_CHECKING:
    import pandas as pd

MAX_WHOLE = 2**53
"""From here on a float64 does not hold every whole number."""
_CSV_START = 2**20
"""Bytes of a CSV file from which its number of rows is estimated."""


def read_table(path: str | Path, columns: Mapping[str, type]) -> dict[str, NDArray[Any]]:
    """Read the named columns of a table.

    Parameters
    ----------
    path : path
        A file that ends in .parquet, .csv (with a header line) or .npz (one array a column; object arrays are refused).
    columns : mapping
        Column name -> int, float or bool.

    Returns
    -------
    dict of arrays
        int64, float64 or bool, all (n_rows,).

    Raises
    ------
    NetworkError
        Naming the file, the row (counted from 0, without the header) and the reason.
    """
    frame = _read_frame(Path(path))
    missing = [name for name in columns if name not in frame]
    if missing:
        raise NetworkError(f"{path}: no column {missing[0]}; expected {', '.join(columns)}, found {', '.join(map(str, frame.columns))}")
    return {name: _column(frame[name], kind, str(path)) for name, kind in columns.items()}


def n_rows(path: str | Path) -> int:
    """Number of rows of a table, without reading it: what its header says; for CSV about, from the length of its first lines.

    0 where the file is missing or damaged: reading it says what is wrong.
    """
    path = Path(path)
    try:
        match path.suffix:
            case ".parquet":
                import pyarrow.parquet

                return int(pyarrow.parquet.read_metadata(path).num_rows)
            case ".csv":
                with path.open("rb") as file:
                    start = file.read(_CSV_START)
                return round(start.count(b"\n") * path.stat().st_size / max(len(start), 1))
            case _:
                with zipfile.ZipFile(path) as arrays, arrays.open(arrays.namelist()[0]) as file:
                    version = np.lib.format.read_magic(file)
                    read = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
                    return int(read(file)[0][0])
    except (OSError, ValueError, IndexError, zipfile.BadZipFile):
        return 0


def _read_frame(path: Path) -> pd.DataFrame:
    import pandas as pd

    try:
        match path.suffix:
            case ".parquet":
                return pd.read_parquet(path)
            case ".csv":
                frame = pd.read_csv(path)
                if not isinstance(frame.index, pd.RangeIndex):  # pandas takes surplus values in front for names of rows
                    raise ValueError("row 0 has more values than the header")
                return frame
            case _:
                with np.load(path, allow_pickle=False) as arrays:
                    return pd.DataFrame({name: arrays[name] for name in arrays.files})
    except (OSError, ValueError, TypeError, EOFError, zipfile.BadZipFile, zlib.error) as error:
        # the last three: an npz that is empty, cut off or damaged; TypeError: a single array under its name
        raise NetworkError(f"{path} cannot be read as a table: {error}") from error


def _column(values: pd.Series[Any], kind: type, path: str) -> NDArray[Any]:
    """One column as numbers; text, NaN, times, truth values and fractions of whole numbers are refused with their row."""
    import pandas as pd

    stored = values.dtype.str[1:] if isinstance(values.dtype, np.dtype) else "O"
    if kind is int and stored in ("i1", "i2", "i4", "i8", "u1", "u2", "u4"):
        return values.to_numpy(dtype=np.int64)  # nothing can be wrong with these, and i8 needs no copy
    if kind is bool and not pd.api.types.is_numeric_dtype(values):
        values = values.map(lambda value: {"true": 1, "false": 0}.get(str(value).lower(), value))
    if stored[0] in "cmM" or isinstance(values.dtype, pd.DatetimeTZDtype) or (stored == "b1" and kind is not bool):
        # pandas would make numbers of complex ones, times and truth values
        numbers = np.full(len(values), np.nan)
    else:
        numbers = pd.to_numeric(values, errors="coerce").to_numpy(dtype=np.float64, na_value=np.nan)
    allowed = np.isfinite(numbers)
    if kind is int:
        allowed &= (numbers == np.rint(numbers)) & (np.abs(numbers) < MAX_WHOLE)
    elif kind is bool:
        allowed &= (numbers == 0) | (numbers == 1)
    if not allowed.all():
        row = int(np.argmin(allowed))
        what = {int: "a whole number", float: "a finite number", bool: "true or false"}[kind]
        raise NetworkError(f"{path}, row {row}: {values.name} = {values.iloc[row]}, expected {what}")
    return numbers.astype({int: np.int64, float: np.float64, bool: np.bool_}[kind], copy=False)


def refuse_rows(path: str | Path, wrong: NDArray[np.bool_], values: NDArray[Any], expected: str) -> None:
    """Raise for the first row that is wrong.

    Raises
    ------
    NetworkError
        Naming file, row, value and what was expected.
    """
    if wrong.any():
        row = int(np.argmax(wrong))
        raise NetworkError(f"{path}, row {row}: {values[row]}, expected {expected}")
