"""User tables: valid ones are read; for others, the error names the actual and the expected format."""

from __future__ import annotations

import gzip
import re
import zipfile
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from conftest import small_config

from spikelens.cli import main
from spikelens.config import load_runs
from spikelens.errors import ConfigError, NetworkError
from spikelens.fingerprint import fingerprint
from spikelens.network.build import EDGE_COLUMNS, read_edges
from spikelens.prepare import prepare
from spikelens.tables import n_rows, read_table

N = 1_000
EDGES = pd.DataFrame(
    {
        "source": np.arange(N) % 20,
        "target": (np.arange(N) + 1) % 20,
        "delay_ms": 1 + np.arange(N) // 20,
        "weight_mv": np.linspace(0, 5, N).round(3),
        "plastic": np.arange(N) % 3 == 0,
    }
)
CSV = EDGES.to_csv(index=False)


def savez(path: Path, compressed: bool = False, **changes) -> bytes:
    columns = {name: EDGES[name].to_numpy() for name in EDGES} | changes
    (np.savez_compressed if compressed else np.savez)(path, **columns)
    return path.read_bytes()


def with_headers(content: bytes, place: int, value: bytes) -> bytes:
    """A zip archive with two bytes of each file header changed, also in the central directory."""
    changed = bytearray(content)
    for signature, further in ((b"PK\x03\x04", 0), (b"PK\x01\x02", 2)):
        at = -1
        while (at := changed.find(signature, at + 1)) >= 0:
            changed[at + place + further : at + place + further + 2] = value
    return bytes(changed)


def flipped(content: bytes, place: int) -> bytes:
    return content[:place] + bytes([content[place] ^ 16]) + content[place + 1 :]


def single_array(path: Path) -> bytes:
    with path.open("wb") as file:
        np.save(file, EDGES["source"].to_numpy())
    return path.read_bytes()


def other_archive(path: Path) -> bytes:
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("notes.txt", "nothing")
    return path.read_bytes()


def parquet(path: Path) -> bytes:
    EDGES.to_parquet(path)
    return path.read_bytes()


UNREADABLE = {
    "encrypted": (".npz", lambda path: with_headers(savez(path), 6, b"\x01\x00"), "File 'source.npy' is encrypted"),
    "unknown method": (".npz", lambda path: with_headers(savez(path), 8, b"\x63\x00"), "compression method is not supported"),
    "flipped in compressed": (".npz", lambda path: flipped(savez(path, compressed=True), 150), ""),
    "flipped in plain": (".npz", lambda path: flipped(savez(path), 600), "Bad CRC-32 for file 'source.npy'"),
    "cut off": (".npz", lambda path: savez(path)[:-50], "File is not a zip file"),
    "single array": (".npz", single_array, "it is a single array, as numpy.save writes it"),
    "matrix": (".npz", lambda path: savez(path, target=np.zeros((2, 500))), "target has 2 dimensions"),
    "scalar": (".npz", lambda path: savez(path, target=1), "target has 0 dimensions"),
    "objects": (".npz", lambda path: savez(path, target=np.array([None] * N)), "Object arrays cannot be loaded"),
    "lengths": (".npz", lambda path: savez(path, target=np.zeros(5)), "All arrays must be of the same length"),
    "other archive": (".npz", other_archive, "notes.txt has 0 dimensions"),
    "text as npz": (".npz", lambda _: CSV.encode(), "it is of an unknown format, or damaged"),
    "empty npz": (".npz", lambda _: b"", "it is empty"),
    "comment": (".csv", lambda _: f"# by me\n{CSV}".encode(), "text with a comment line (#) before its header: remove that line"),
    "utf-16": (".csv", lambda _: CSV.encode("utf-16"), "it is UTF-16 text: save it as UTF-8"),
    "gzip": (".csv", lambda _: gzip.compress(CSV.encode()), "it is compressed with gzip: decompress it"),
    "zeros": (".csv", lambda _: bytes(100), "it is not text"),
    "empty csv": (".csv", lambda _: b"", "it is empty"),
    "parquet as csv": (".csv", parquet, "it is a Parquet file"),
    "csv as parquet": (".parquet", lambda _: CSV.encode(), "it is of an unknown format, or damaged"),
    "flipped parquet": (".parquet", lambda path: flipped(parquet(path), 60), ""),
    "cut off parquet": (".parquet", lambda path: parquet(path)[:-20], ""),
}
EXPECTED = {
    ".npz": "expected an archive written by numpy.savez",
    ".csv": "expected UTF-8 text with a header line",
    ".parquet": "expected a Parquet file, or a folder",
}


@pytest.mark.parametrize("name", UNREADABLE)
def test_an_unreadable_table_is_reported_with_actual_and_expected_format(tmp_path, name):
    suffix, make, reason = UNREADABLE[name]
    path = tmp_path / f"table{suffix}"
    path.write_bytes(make(path))
    with pytest.raises(NetworkError) as raised:
        read_table(path, EDGE_COLUMNS)
    message = str(raised.value)
    assert message.startswith(f"{path} cannot be read as a table: ")
    assert reason in message
    assert EXPECTED[suffix] in message
    assert "\n" not in message
    assert n_rows(path) >= 0  # the plan is made before the table is read and must not fail


def test_any_flipped_bit_in_a_compressed_table_is_an_error_or_has_no_effect(tmp_path):
    """zlib, zipfile and numpy raise many types of exceptions."""
    path = tmp_path / "table.npz"
    content = savez(path, compressed=True)
    whole = read_table(path, EDGE_COLUMNS)
    refused = 0
    for place in np.random.default_rng(3).integers(4, len(content), 150):
        path.write_bytes(flipped(content, int(place)))
        n_rows(path)
        try:
            found = read_table(path, EDGE_COLUMNS)
        except NetworkError:
            refused += 1
        else:
            assert all(np.array_equal(found[name], whole[name]) for name in whole)
    assert refused > 75


def test_a_csv_can_have_a_byte_order_mark_and_spaces_after_commas(tmp_path):
    path = tmp_path / "table.csv"
    path.write_bytes(b"\xef\xbb\xbf" + CSV.replace(",", ", ").encode())
    found = read_table(path, EDGE_COLUMNS)
    for name in EDGES:
        np.testing.assert_array_equal(found[name], EDGES[name])


# --- Parquet datasets ---------------------------------------------------------------------------------------------------


def dataset(folder: Path, **how) -> Path:
    """EDGES as a folder of Parquet files."""
    if how:
        EDGES.to_parquet(folder, **how)
    else:
        folder.mkdir()
        for number in range(3):
            EDGES[number::3].to_parquet(folder / f"part-{number}.parquet")
    (folder / ".DS_Store").write_bytes(b"\xff")
    (folder / "_SUCCESS").write_bytes(b"")
    return folder


@pytest.mark.parametrize("how", [{}, {"partition_cols": ["plastic"]}, {"partition_cols": ["delay_ms", "plastic"]}], ids=str)
def test_a_parquet_dataset_is_one_table(tmp_path, how):
    path = dataset(tmp_path / "edges.parquet", **how)
    run = load_runs(small_config(tmp_path, {"network.connections": {}, "network.edges": str(path)}))[0]
    whole = tmp_path / "whole.parquet"
    EDGES.to_parquet(whole)
    found, expected = read_edges(run), read_edges(run.model_copy(update={"network": run.network.model_copy(update={"edges": str(whole)})}))
    for name in ("source", "target", "delay", "weight", "plastic"):
        np.testing.assert_array_equal(getattr(found, name), getattr(expected, name))
    assert n_rows(path) == N


def test_the_key_of_a_network_depends_on_exactly_the_files_of_a_dataset(tmp_path):
    path = dataset(tmp_path / "edges.parquet")
    run = load_runs(small_config(tmp_path, {"network.connections": {}, "network.edges": str(path)}))[0]
    first = fingerprint(run, "network")
    (path / ".DS_Store").write_bytes(b"\xfe")
    (path / "_note").write_bytes(b"\xfe")
    assert fingerprint(run, "network") == first
    EDGES[:-1:3].to_parquet(path / "part-0.parquet")
    EDGES[2:3].to_parquet(path / "part-4.parquet")
    second = fingerprint(run, "network")
    assert second != first
    (path / "part-4.parquet").rename(path / "part-5.parquet")
    assert fingerprint(run, "network") != second, "names of files may tell partitions"


def test_a_foreign_file_in_a_dataset_is_reported(tmp_path):
    path = dataset(tmp_path / "edges.parquet")
    (path / "note.txt").write_text("mine")
    with pytest.raises(
        NetworkError, match=re.escape(f"{path}/note.txt") + ".*; expected a Parquet file, or a folder that contains only Parquet files"
    ):
        read_table(path, EDGE_COLUMNS)


@pytest.mark.parametrize("suffix", [".csv", ".npz"])
def test_a_folder_with_another_extension_is_refused_by_check(tmp_path, suffix):
    path = tmp_path / f"edges{suffix}"
    path.mkdir()
    with pytest.raises(ConfigError, match="expected a file, found a folder; only a Parquet dataset can be a folder"):
        load_runs(small_config(tmp_path, {"network.connections": {}, "network.edges": str(path)}))


def test_check_and_network_report_an_encrypted_table_and_exit_with_2(tmp_path, capsys):
    path = tmp_path / "edges.npz"
    path.write_bytes(with_headers(savez(path), 6, b"\x01\x00"))
    run = load_runs(small_config(tmp_path, {"network.connections": {}, "network.edges": str(path)}))[0]
    prepare(run)
    assert main(["plan", run.path]) == 0
    assert main(["network", run.path]) == 2
    assert "is encrypted" in capsys.readouterr().err
