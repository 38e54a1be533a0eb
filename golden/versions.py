"""Update `src/spikelens/versions.json`: `make versions`, or `make versions BUMP="simulation models/tft"`.

The golden runs are computed on this machine with the listed code, from its commit, and with the present code.
For each item whose code has changed, the version number stays if its results are bit-identical, and is raised
by one otherwise. The new hash is written next to it. BUMP raises the numbers of the given items without a
comparison; BUMP=all raises all.
"""

from __future__ import annotations

import argparse
import io
import json
import os
import subprocess
import sys
import tarfile
import tempfile
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

import spikelens
from golden.runs import CONFIGURATIONS, Golden
from spikelens.errors import SpikelensError
from spikelens.versions import ITEMS, LISTED, Item, Version, code_hash, items_of, listed

REPOSITORY = Path(__file__).parent.parent
EXACT = CONFIGURATIONS / "exact.json"
"""Checksums of the integer results of the golden runs, which are the same on any machine."""
_FILE = f"src/spikelens/{LISTED}"
_HASHES = "import json; from spikelens.versions import ITEMS, code_hash; print(json.dumps({item: code_hash(item) for item in ITEMS}))"


@dataclass(frozen=True)
class Decision:
    """The new version of an item, and the reason."""

    item: Item
    before: Version | None
    after: Version
    why: str


def stale(known: Mapping[Item, Version]) -> list[Item]:
    """Items whose listed hash differs from that of the present code."""
    return [item for item in ITEMS if item not in known or known[item].code != code_hash(item)]


def decide(known: Mapping[Item, Version], bumped: Collection[Item], differing: Mapping[Item, str]) -> list[Decision]:
    """The new version of every item. `differing`: item whose results differ -> how they differ."""
    changed, decisions = stale(known), []
    for item in ITEMS:
        before = known.get(item)
        number = 1 if before is None else before.number + (item in bumped or item in differing)
        if before is None:
            why = "new"
        elif item in bumped:
            why = "raised by hand"
        else:
            why = differing.get(item, "results identical" if item in changed else "code unchanged")
        decisions.append(Decision(item, before, Version(number, code_hash(item)), why))
    return decisions


def differing_items(known: Mapping[Item, Version], items: Collection[Item]) -> dict[Item, str]:
    """The items whose golden results differ between the listed and the present code, and in which files.

    Both versions run the golden configurations of the listed code.
    """
    with tempfile.TemporaryDirectory(prefix="spikelens-versions-") as name:
        folder = Path(name)
        listed_code = unpack_listed_code(known, folder)
        print(
            f"golden runs with the listed code (commit {listed_code.name[:9]}), then with the present code",
            file=sys.stderr,
        )
        before = _golden(listed_code, listed_code / "golden", folder / "before").files
        after = _golden(REPOSITORY, listed_code / "golden", folder / "after").files
    # the figures of a kind are files of the report
    pairs = {item: [files.get("report" if item.startswith("report/") else item, {}) for files in (before, after)] for item in items}
    return {item: _difference(*pair) for item, pair in pairs.items() if pair[0] != pair[1] or not pair[1]}


def _difference(before: Mapping[str, str], after: Mapping[str, str]) -> str:
    names = sorted(name for name in before.keys() | after.keys() if before.get(name) != after.get(name))
    if not names:
        return "not compared: no golden results"
    return f"results differ: {len(names)} of {len(before.keys() | after.keys())} files, e.g. {names[0]}"


def _golden(tree: Path, configurations: Path, folder: Path, *options: str) -> Golden:
    """Compute the golden runs with the code in `tree`."""
    found = _python(tree, "-m", "golden.runs", str(configurations), str(folder), *options)
    if found.returncode:
        raise SpikelensError(
            f"the code in {tree} fails on the golden runs in {configurations}. Fix it; or, if it need not run "
            "the configurations of the listed code, raise the numbers of the items whose results differ by hand "
            f"(BUMP=ITEM, BUMP=all). Error output:\n{found.stderr[-2000:]}"
        )
    return Golden(**json.loads(found.stdout))


def _python(tree: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run Python with the code in `tree`, with one thread like the jobs of the workflow."""
    environment = {**os.environ, "PYTHONPATH": str(tree / "src"), "OMP_NUM_THREADS": "1"}
    return subprocess.run([sys.executable, *arguments], cwd=tree, env=environment, capture_output=True, text=True, check=False)


def unpack_listed_code(known: Mapping[Item, Version], folder: Path) -> Path:
    """Find the newest commit that contains the listed code, and unpack it into a folder named by its hash.

    Raises
    ------
    SpikelensError
        If no commit since the last change of the list contains it.
    """
    last = _git("log", "-1", "--format=%H", "--", _FILE).decode().strip()
    later = _git("log", "--format=%H", f"{last}..HEAD", "--", "src/spikelens").decode().split() if last else []
    for commit in (*later, last) if last else ():
        with tarfile.open(fileobj=io.BytesIO(_git("archive", commit, "src", "golden"))) as archive:
            archive.extractall(folder / commit, filter="data")
        hashes = _python(folder / commit, "-c", _HASHES)
        if hashes.returncode == 0 and all(item in known and known[item].code == code for item, code in json.loads(hashes.stdout).items()):
            return folder / commit
    raise SpikelensError(
        f"{_FILE} lists code that is in no commit since {last[:9] or 'the first'}, so there is nothing to compare "
        f"with. If the file has uncommitted changes, run `git checkout {_FILE}` and try again. In a shallow clone, "
        "run `git fetch --unshallow` first. Otherwise raise the numbers by hand with BUMP=all"
    )


def _git(*arguments: str) -> bytes:
    try:
        return subprocess.run(["git", *arguments], cwd=REPOSITORY, capture_output=True, check=True).stdout
    except FileNotFoundError:
        raise SpikelensError("git not found: it is needed to read the listed code; install git") from None
    except subprocess.CalledProcessError as error:
        raise SpikelensError(f"`git {' '.join(arguments)}` failed in {REPOSITORY}: {error.stderr.decode().strip()}") from None


def bumped_items(names: Iterable[str]) -> set[Item]:
    """The items named in BUMP: single items, "features" or "models" for all of their kinds, or "all"."""
    groups = {"all": ITEMS, **{stage: items_of(stage) for stage in ("features", "models")}, **{item: (item,) for item in ITEMS}}
    unknown = [name for name in names if name not in groups]
    if unknown:
        raise SpikelensError(f"BUMP={unknown[0]}: expected all, features, models, or one of {', '.join(ITEMS)}")
    return {item for name in names for item in groups[name]}


def update(bump: Iterable[str]) -> list[Decision]:
    """Determine the new version of every item; write the list and the checksums of exact results."""
    path, bumped = REPOSITORY / _FILE, bumped_items(bump)
    if Path(spikelens.__file__).parent != path.parent:
        raise SpikelensError(f"Python imports spikelens from {spikelens.__file__}; expected {path.parent}: set PYTHONPATH to its parent")
    known = listed(path)
    compared = [item for item in stale(known) if item in known and item not in bumped]
    decisions = decide(known, bumped, differing_items(known, compared) if compared else {})
    if any(decision.before != decision.after for decision in decisions):
        with tempfile.TemporaryDirectory(prefix="spikelens-exact-") as name:
            exact = _golden(REPOSITORY, CONFIGURATIONS, Path(name, "exact"), "--exact").exact
        EXACT.write_text(json.dumps(exact, indent=1) + "\n")
        # a removed item keeps its number
        versions = {**known, **{decision.item: decision.after for decision in decisions}}
        path.write_text(json.dumps({item: {"version": n, "code": code} for item, (n, code) in versions.items()}, indent=1) + "\n")
    return decisions


def table(decisions: Iterable[Decision]) -> str:
    """The decisions as a table."""
    lines = [f"{'item':<24}{'version':>12}  {'code':<38}results"]
    for item, before, after, why in ((d.item, d.before, d.after, d.why) for d in decisions):
        number = f"{after.number}" if before is None or before.number == after.number else f"{before.number} -> {after.number}"
        code = after.code if before is None or before.code == after.code else f"{before.code} -> {after.code}"
        lines.append(f"{item:<24}{number:>12}  {code:<38}{why}")
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--bump", metavar="ITEM", action="append", default=[], help="raise the number of this item without a comparison")
    try:
        print(table(update(parser.parse_args().bump)))
    except SpikelensError as error:
        print(error, file=sys.stderr)
        sys.exit(2)


if __name__ == "__main__":
    main()
