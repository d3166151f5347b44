"""What `--help` says before and after the options, alike for commands and experiments."""

import contextlib
import shutil
import textwrap
from collections.abc import Iterator, Sequence

INDENT = "    "  # of the examples in docstrings


@contextlib.contextmanager
def framed(arguments: Sequence[str], example: str, outputs: str) -> Iterator[None]:
    """What a parser prints for `--help`, between an example and where the outputs go."""
    asked = bool({"-h", "--help"} & set(arguments))
    if asked:
        print(f"for example: {commands(example)}\n")
    try:
        yield
    except SystemExit as end:
        if asked and not end.code:
            print(f"\n{wrapped(outputs)}")
        raise


def commands(example: str) -> str:
    """The commands of an example below each other; what is indented goes on with the line before."""
    lines: list[str] = []
    for line in textwrap.dedent(f"{INDENT}{example.strip()}").splitlines():
        if line.startswith(" ") and lines:
            lines[-1] += f" {line.strip()}"
        elif line.strip():
            lines.append(" ".join(line.split()))
    return f"\n{' ' * len('for example: ')}".join(lines)


def wrapped(text: str) -> str:
    """Paragraphs that fit the terminal."""
    width = min(shutil.get_terminal_size().columns, 100)
    return "\n\n".join(textwrap.fill(paragraph, width) for paragraph in text.split("\n\n"))
