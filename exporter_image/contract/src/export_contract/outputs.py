"""Which forms of output exist. The operator refuses the others before a Job exists, the exporter before it connects;
both by these rules."""

from __future__ import annotations

from export_contract.runspec import CsvOptions, Output

_PART_OF_NUMBERS = "+-."


def problem(output: Output) -> str | None:
    """What is wrong with the output, as a sentence that names the field; None when nothing is."""
    if output.format == "ArrowStream" and output.compression == "Gzip":
        return "compression: an Arrow stream compresses its record batches, and has no Gzip; use Zstd or None."
    return _csv_problem(output.csv) if output.format == "CSV" else None


def _csv_problem(csv: CsvOptions) -> str | None:
    delimiter, null_text = csv.delimiter, csv.null_text
    if not _delimits(delimiter):
        return (
            f"csv.delimiter: {delimiter!r:.40} must be a tab or one printable ASCII character, no letter or digit,"
            ' and none of " + - . which quotes and numbers are made of; comma, semicolon and | are usual.'
        )
    if any(character in null_text for character in '"\r\n\0' + delimiter):
        return f"csv.nullText: {null_text!r:.40} must have no quote, line break, NUL or delimiter."
    return None


def _delimits(text: str) -> bool:
    one = len(text) == 1 and text.isascii() and (text.isprintable() or text == "\t")
    return one and not text.isalnum() and text not in '"' + _PART_OF_NUMBERS
