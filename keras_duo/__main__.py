"""The command line: `python -m keras_duo check model.keras`, `recommend` and `pairs`.

Exit status of `check`: 1 if there is an error or a warning; else 2 if the model, the data or a part
of the model could not be checked; else 0. Advice is printed and does not count.
"""

import argparse
import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import keras
import numpy as np

from keras_duo.check import Finding, check
from keras_duo.pairs import Pair, pairs, recommend

_COLOURS = {"error": "bold red", "warning": "yellow", "advice": "cyan", "unknown": "dim"}


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command and return its exit status."""
    parser = argparse.ArgumentParser(prog="python -m keras_duo", description=__doc__)
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    commands = parser.add_subparsers(dest="command", required=True)

    checking = commands.add_parser("check", help="find what does not fit in a saved model")
    checking.add_argument("model", type=Path, help="a .keras file, loaded in safe mode")
    checking.add_argument(
        "--data",
        type=Path,
        help="an .npz file with x and y; of several inputs or outputs x_<name> and y_<name>",
    )
    checking.add_argument("--json", action="store_true", help="print the findings as JSON")

    recommending = commands.add_parser("recommend", help="the pair for a task")
    recommending.add_argument("--task", required=True)
    recommending.add_argument("--data", help="what the labels are like; default: the usual case")

    commands.add_parser("pairs", help="the table of pairs")

    given = parser.parse_args(arguments)
    if given.command == "check":
        return _check(given.model, given.data, given.json)
    if given.command == "pairs":
        _print_table(pairs())
        return 0
    try:
        print(recommend(given.task, given.data))
    except ValueError as error:
        return _failed(error)
    return 0


def _check(path: Path, data: Path | None, as_json: bool) -> int:
    if path.suffix != ".keras":
        return _failed(f"The model must be a .keras file. Received: {path}")
    try:
        model = keras.saving.load_model(path, safe_mode=True)
        x, y = (None, None) if data is None else _read(data)
        findings = check(model, x, y)
    except Exception as error:  # a file may fail to load in any way; the status tells it
        return _failed(error)
    if as_json:
        print(json.dumps([finding.to_dict() for finding in findings], indent=2))
    else:
        _print_findings(findings)
    severities = {finding.severity for finding in findings}
    if severities & {"error", "warning"}:
        return 1
    return 2 if "unknown" in severities else 0


def _read(path: Path) -> tuple[Any, Any]:
    with np.load(path, allow_pickle=False) as file:
        arrays = {name: file[name] for name in file.files}
    found = []
    for kind in ("x", "y"):
        named = {
            name.removeprefix(f"{kind}_"): array
            for name, array in arrays.items()
            if name.startswith(f"{kind}_")
        }
        found.append(arrays.get(kind, named or None))
    if all(part is None for part in found):
        raise ValueError(f"{path} must hold x or y. Received: {sorted(arrays)}")
    return found[0], found[1]


def _failed(reason: Any) -> int:
    print(f"keras_duo: {reason}", file=sys.stderr)
    return 2


def _print_findings(findings: list[Finding]) -> None:
    console = _console()
    if not findings:
        print("No findings.")
    for finding in findings:
        if console is None:
            print(finding)
            continue
        first, *rest = str(finding).splitlines()
        console.print(first, style=_COLOURS[finding.severity], markup=False, highlight=False)
        console.print("\n".join(rest), markup=False, highlight=False)


def _print_table(rows: Sequence[Pair]) -> None:
    lines = [(pair.task, pair.data, pair.partners, pair.labels) for pair in rows]
    headings = ("task", "data", "pair", "labels")
    console = _console()
    if console is None:
        table = [headings, *lines]
        widths = [max(map(len, column)) for column in zip(*table, strict=True)]
        for line in table:
            cells = (cell.ljust(width) for cell, width in zip(line, widths, strict=True))
            print("  ".join(cells).rstrip())
        return
    from rich.table import Table

    rich_table = Table(*headings)
    for line in lines:
        rich_table.add_row(*line)
    console.print(rich_table, markup=False)


def _console() -> Any:
    """A rich console where rich is installed and someone is looking; else None."""
    try:
        from rich.console import Console
    except ImportError:
        return None
    console = Console()
    return console if console.is_terminal else None


if __name__ == "__main__":
    sys.exit(main())
