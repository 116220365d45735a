"""Print the fenced blocks of README.md that follow the line ``<!-- ci: NAME -->``, verbatim.

    python .ci/readme.py NAME [README.md]

Blocks with the same name are joined in order, as a reader would paste them one after the other.
"""

import re
import sys
from pathlib import Path

_BLOCK = re.compile(
    r"^<!-- ci: (?P<name>[a-z-]+) -->\n+```[a-z]*\n(?P<text>.*?)^```$", re.MULTILINE | re.DOTALL
)


def blocks(text: str, name: str) -> list[str]:
    """Return the contents of every fenced block of that name."""
    return [match["text"] for match in _BLOCK.finditer(text) if match["name"] == name]


def main(arguments: list[str]) -> int:
    name, readme = (*arguments, "README.md")[:2]
    found = blocks(Path(readme).read_text(encoding="utf-8"), name)
    if not found:
        print(f"{readme} has no fenced block below a line <!-- ci: {name} -->", file=sys.stderr)
        return 1
    print("\n".join(found), end="")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
