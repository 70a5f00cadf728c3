"""``facerestore schema``: what is in a report, for programs."""

from __future__ import annotations

from facerestore.cli.terminal import print_json

EPILOG = """Examples:
facerestore schema
facerestore schema > report.schema.json"""


def schema() -> None:
    """Print the JSON Schema of reports, as --report FILE.json and --json of enhance and the other tasks write them."""
    from facerestore.batch.schema import report_schema

    print_json(report_schema())
