"""The table of speeds: each figure beside the floor that was measured in the same run.

    python -m tests.bench [--records 100000] [--runs 5] [--million] [--only records|snapshots|tables|relays]

Prints medians over the runs. Ratios hold between machines; absolute times are the disk's.
"""

from __future__ import annotations

import argparse
import os
import tempfile
from pathlib import Path

from tests.bench import of_cloudkit, of_growth, of_records, of_relays, of_snapshots, of_tables
from tests.bench.report import Table


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--records", type=int, default=100_000)
    parser.add_argument("--runs", type=int, default=5)
    parser.add_argument("--million", action="store_true", help="also one of each with 1,000,000")
    parser.add_argument("--only", choices=("records", "snapshots", "tables", "relays"), help="a part of it")
    options = parser.parse_args()
    print(f"{os.cpu_count()} cores, load {os.getloadavg()[0]:.2f} {os.getloadavg()[1]:.2f}, {options.runs} runs")
    table = Table()
    with tempfile.TemporaryDirectory(prefix="peerd-bench-") as name:
        folder = Path(name)
        if options.only in {None, "records"}:
            of_records.measure_writes(_made(folder / "writes"), options.runs, table)
            of_records.measure_bulk(_made(folder / "bulk"), options.records, options.runs, table)
            of_growth.measure(_made(folder / "growth"), options.records // 5, options.runs, table)
            if options.million:
                of_records.measure_bulk(_made(folder / "million"), 1_000_000, 1, table)
        if options.only in {None, "snapshots"}:
            of_snapshots.measure(_made(folder / "snapshot"), options.records, options.runs, table)
            of_snapshots.measure_return(_made(folder / "return"), options.records, table)
            if options.million:
                of_snapshots.measure(_made(folder / "million snapshot"), 1_000_000, 1, table)
        if options.only in {None, "tables"}:
            of_tables.measure_small(_made(folder / "tables"), options.runs, table)
            of_tables.measure_bulk(_made(folder / "rows"), options.records, options.runs, table)
            if options.million:
                of_tables.measure_binding(_made(folder / "million rows"), 1_000_000, table)
        if options.only in {None, "relays"}:
            of_relays.measure_folder(_made(folder / "relay"), options.records, options.runs, table)
            of_cloudkit.measure(_made(folder / "cloudkit"), options.runs, table)
    print()
    table.show()
    print(f"load at the end {os.getloadavg()[0]:.2f}")


def _made(folder: Path) -> Path:
    folder.mkdir()
    return folder


if __name__ == "__main__":
    main()
