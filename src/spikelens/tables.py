"""Read and check the user's tables of edges and drive events (Parquet, CSV or npz)."""

from __future__ import annotations

import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from spikelens.errors import NetworkError, is_out_of_memory

if TYPE_CHECKING:
    import pandas as pd

MAX_WHOLE = 2**53
"""Integers must be smaller: float64 does not represent all integers above."""
_CSV_START = 2**20
"""Number of bytes at the start of a CSV file from which its number of rows is estimated."""


def read_table(path: str | Path, columns: Mapping[str, type]) -> dict[str, NDArray[Any]]:
    """Read the named columns of a table.

    Parameters
    ----------
    path : path
        A file with the extension .parquet, .csv (with a header line) or .npz (one array per column, no object
        arrays); or a folder of Parquet files (a dataset, possibly partitioned) with the extension .parquet.
    columns : mapping
        Column name -> int, float or bool.

    Returns
    -------
    dict of arrays
        int64, float64 or bool, all (n_rows,).

    Raises
    ------
    NetworkError
        With the file, the row (counted from 0, without the header) and the reason.
    """
    frame = _read_frame(Path(path))
    missing = [name for name in columns if name not in frame]
    if missing:
        found = ", ".join(map(str, frame.columns)) or "none"
        raise NetworkError(f"{path}: column {missing[0]} is missing; expected columns: {', '.join(columns)}; found: {found}")
    return {name: _column(frame[name], kind, str(path)) for name, kind in columns.items()}


def n_rows(path: str | Path) -> int:
    """Return the number of rows from the file's header, without reading the table; for CSV, an estimate.

    The estimate for CSV uses the length of the first lines. Return 0 if the file is missing or damaged;
    `read_table` reports the error.
    """
    path = Path(path)
    try:
        match path.suffix:
            case ".parquet" if path.is_dir():
                import pyarrow.dataset

                return int(pyarrow.dataset.dataset(path, format="parquet").count_rows())
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
    except Exception:  # libraries raise arbitrary exceptions for damaged files
        return 0


_EXPECTED = {
    ".parquet": "a Parquet file, or a folder that contains only Parquet files",
    ".csv": "UTF-8 text with a header line of column names, and comma-separated values",
    ".npz": "an archive written by numpy.savez, with one array of numbers per column, all of the same length",
}
_STARTS = {
    b"PAR1": ("a Parquet file", ".parquet"),
    b"PK\x03\x04": ("a zip archive", ".npz"),
    b"PK\x05\x06": ("an empty zip archive", ".npz"),
    b"\x93NUMPY": ("a single array, as numpy.save writes it", ""),
    b"\x89HDF": ("an HDF5 file", ""),
    b"\x1f\x8b": ("compressed with gzip: decompress it", ""),
    b"\xff\xfe": ("UTF-16 text: save it as UTF-8", ""),
    b"\xfe\xff": ("UTF-16 text: save it as UTF-8", ""),
    b"#": ("text with a comment line (#) before its header: remove that line", ""),
}
"""First bytes of a file -> its format, and the extension that it should have."""


def _read_frame(path: Path) -> pd.DataFrame:
    try:
        what = _other_kind(path)
        if what is not None:
            raise ValueError(f"it is {what}")
        return _parsed(path)
    except Exception as error:  # libraries raise arbitrary exceptions for damaged files
        if is_out_of_memory(error):
            raise
        reason = error.strerror if isinstance(error, OSError) and error.strerror else " ".join(str(error).split())
        raise NetworkError(
            f"{path} cannot be read as a table: {reason}; expected {_EXPECTED.get(path.suffix, _EXPECTED['.npz'])}"
        ) from error


def _other_kind(path: Path) -> str | None:
    """Return the actual format of a file if its first bytes do not fit its extension, else None."""
    if path.is_dir():
        return None if path.suffix == ".parquet" else "a folder"
    with path.open("rb") as file:
        start = file.read(_CSV_START)
    if not start:
        return "empty"
    for magic, (what, suffix) in _STARTS.items():
        if start.startswith(magic) and path.suffix != suffix:
            return what
    if path.suffix == ".csv":
        return "not text" if b"\0" in start else None
    return None if start.startswith((b"PAR1", b"PK")) else "of an unknown format, or damaged"


def _parsed(path: Path) -> pd.DataFrame:
    import pandas as pd

    match path.suffix:
        case ".parquet":
            return pd.read_parquet(path)
        case ".csv":
            frame = pd.read_csv(path, skipinitialspace=True)
            if not isinstance(frame.index, pd.RangeIndex):  # pandas uses surplus leading values as row names
                raise ValueError("row 0 has more values than the header")
            return frame
        case _:
            with np.load(path, allow_pickle=False) as arrays:
                columns = {name: arrays[name] for name in arrays.files}
            for name, values in columns.items():
                if np.ndim(values) != 1:
                    raise ValueError(f"{name} has {np.ndim(values)} dimensions")
            return pd.DataFrame(columns)


def _column(values: pd.Series[Any], kind: type, path: str) -> NDArray[Any]:
    """Convert a column to numbers; raise NetworkError with the row of the first invalid value.

    Text, NaN, times, booleans (except for kind bool) and, for kind int, fractions are invalid.
    """
    import pandas as pd

    stored = values.dtype.str[1:] if isinstance(values.dtype, np.dtype) else "O"
    if kind is int and stored in ("i1", "i2", "i4", "i8", "u1", "u2", "u4"):
        return values.to_numpy(dtype=np.int64)  # always valid, and i8 needs no copy
    if kind is bool and not pd.api.types.is_numeric_dtype(values):
        values = values.map(lambda value: {"true": 1, "false": 0}.get(str(value).lower(), value))
    if stored[0] in "cmM" or isinstance(values.dtype, pd.DatetimeTZDtype) or (stored == "b1" and kind is not bool):
        # pandas would convert complex numbers, times and booleans
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
    """Raise an error for the first row that is wrong.

    Raises
    ------
    NetworkError
        With file, row, value and what was expected.
    """
    if wrong.any():
        row = int(np.argmax(wrong))
        raise NetworkError(f"{path}, row {row}: {values[row]}, expected {expected}")
