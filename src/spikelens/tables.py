"""Tables that users bring: edges and drive events, from Parquet, CSV or npz, checked row by row."""

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
"""From here on a float64 does not hold every whole number."""
_CSV_START = 2**20
"""Bytes of a CSV file from which its number of rows is estimated."""


def read_table(path: str | Path, columns: Mapping[str, type]) -> dict[str, NDArray[Any]]:
    """Read the named columns of a table.

    Parameters
    ----------
    path : path
        A file that ends in .parquet, .csv (with a header line) or .npz (one array a column; object arrays are refused); or a folder of
        Parquet files (a dataset, also a partitioned one) that ends in .parquet.
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
        found = ", ".join(map(str, frame.columns)) or "none"
        raise NetworkError(f"{path}: no column {missing[0]}; expected the columns {', '.join(columns)}, found {found}")
    return {name: _column(frame[name], kind, str(path)) for name, kind in columns.items()}


def n_rows(path: str | Path) -> int:
    """Number of rows of a table, without reading it: what its header says; for CSV about, from the length of its first lines.

    0 where the file is missing or damaged: reading it says what is wrong.
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
    except Exception:  # of damaged files, their libraries raise anything
        return 0


_EXPECTED = {
    ".parquet": "a Parquet file, or a folder of Parquet files and nothing else",
    ".csv": "text in UTF-8 with a header line of column names and values separated by commas",
    ".npz": "an archive that numpy.savez writes, with one array of numbers for each column, all of one length",
}
_STARTS = {
    b"PAR1": ("a Parquet file", ".parquet"),
    b"PK\x03\x04": ("a zip archive", ".npz"),
    b"PK\x05\x06": ("an empty zip archive", ".npz"),
    b"\x93NUMPY": ("a single array, as numpy.save writes it", ""),
    b"\x89HDF": ("an HDF5 file", ""),
    b"\x1f\x8b": ("compressed with gzip: decompress it", ""),
    b"\xff\xfe": ("text in UTF-16: save it as UTF-8", ""),
    b"\xfe\xff": ("text in UTF-16: save it as UTF-8", ""),
    b"#": ("text with a line in front of its header, which begins with #: remove that line", ""),
}
"""How files begin: what such a file is, and the suffix that it should have."""


def _read_frame(path: Path) -> pd.DataFrame:
    try:
        what = _other_kind(path)
        if what is not None:
            raise ValueError(f"it is {what}")
        return _parsed(path)
    except Exception as error:  # of damaged files, their libraries raise anything
        if is_out_of_memory(error):
            raise
        reason = error.strerror if isinstance(error, OSError) and error.strerror else " ".join(str(error).split())
        raise NetworkError(
            f"{path} cannot be read as a table: {reason}; expected {_EXPECTED.get(path.suffix, _EXPECTED['.npz'])}"
        ) from error


def _other_kind(path: Path) -> str | None:
    """What a file is if it is not what its suffix says, as far as its first bytes tell."""
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
    return None if start.startswith((b"PAR1", b"PK")) else "of another kind, or damaged"


def _parsed(path: Path) -> pd.DataFrame:
    import pandas as pd

    match path.suffix:
        case ".parquet":
            return pd.read_parquet(path)
        case ".csv":
            frame = pd.read_csv(path, skipinitialspace=True)
            if not isinstance(frame.index, pd.RangeIndex):  # pandas takes surplus values in front for names of rows
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
