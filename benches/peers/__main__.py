"""This server compared with others.

python -m benches.peers build
python -m benches.peers run [--row NAME ...] [--server NAME ...]
python -m benches.peers compare COMMIT COMMIT [--row NAME ...]
"""

from __future__ import annotations

import argparse
import json
import resource
import subprocess
from collections.abc import Mapping
from pathlib import Path

from benches import wrk
from benches.measuring import ROOT, RWSGI
from benches.peers import report, rounds
from benches.peers.build import build
from benches.peers.compare import compare
from benches.peers.model import Found, Row
from benches.peers.rows import ROWS
from benches.peers.servers import ENVIRONMENT, servers


def main() -> None:
    options = parse()
    # Client and servers have thousands of open connections.
    most = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    if options.what == "build":
        build()
        return
    wrk.need()
    if not (ENVIRONMENT / "bin/python").exists():
        raise SystemExit("there are no peers: python -m benches.peers build")
    rows = {name: ROWS[name] for name in options.row or ROWS}
    if options.what == "compare":
        print(compare(options.commits, list(rows.values()), options.rounds, options.seconds))
        return
    run(rows, options)


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    commands = parser.add_subparsers(dest="what", required=True)
    commands.add_parser("build", help="make the environment of the peers")
    each = commands.add_parser("run", help="measure them")
    pair = commands.add_parser("compare", help="measure two commits of rwsgi")
    pair.add_argument("commits", nargs=2, metavar="COMMIT")
    for command in (each, pair):
        command.add_argument("--row", action="append", choices=ROWS, help="not all rows; may be repeated")
        command.add_argument("--rounds", type=int, default=5)
        command.add_argument("--seconds", type=int, default=2, help="of each round")
    names = list(servers(RWSGI))
    each.add_argument("--server", action="append", choices=names, help="not all servers; may be repeated")
    each.add_argument("--rwsgi", default=RWSGI, metavar="COMMAND", help="what starts rwsgi")
    each.add_argument("--json", type=Path, metavar="FILE", help="for all rounds")
    each.add_argument("--markdown", type=Path, metavar="FILE", help="for the tables, which are printed, too")
    each.add_argument("--plots", type=Path, metavar="FOLDER", help="for a picture of each row")
    return parser.parse_args()


def run(rows: Mapping[str, Row], options: argparse.Namespace) -> None:
    found: dict[str, Found] = {}
    tables = []
    with rounds.site() as folder:
        settings = rounds.Settings(options.rounds, options.seconds, servers(options.rwsgi), folder)
        for name, row in rows.items():
            found[name] = rounds.measure(row, settings, options.server or ())
            tables.append(report.markdown(row, found[name]))
            print(tables[-1], flush=True)
            # Saved after each row, so that an interrupted run keeps its results.
            save(rows, found, tables, options)
    print(report.overview(rows, found))


def save(
    rows: Mapping[str, Row], found: Mapping[str, Found], tables: list[str], options: argparse.Namespace
) -> None:
    done = {name: rows[name] for name in found}
    if options.markdown:
        options.markdown.write_text("\n".join([report.overview(done, found) + "\n", *tables]))
    if not (options.json or options.plots):
        return
    if options.plots:
        options.plots.mkdir(parents=True, exist_ok=True)
    file = options.json or options.plots / "rounds.json"
    found_data = report.data(done, found, {"rounds": options.rounds, "seconds": options.seconds})
    file.write_text(json.dumps(found_data, indent=1, ensure_ascii=False) + "\n")
    if options.plots:
        command = [str(ENVIRONMENT / "bin/python"), "-m", "benches.peers.plots", file, options.plots]
        subprocess.run(command, cwd=ROOT, check=True)


if __name__ == "__main__":
    main()
