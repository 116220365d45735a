"""Print the fenced blocks of a page that follow the line ``<!-- ci: NAME -->``, verbatim.

    python .ci/readme.py NAME [PAGE]

The page is README.md by default. Blocks with the same name are joined in order, as a reader would
paste them one after the other. A page may have no Python, but none that is not run: a block of
Python without its line is an error.
"""

import re
import sys
from pathlib import Path

_BLOCK = re.compile(
    r"^<!-- ci: (?P<name>[a-z-]+) -->\n+```[a-z]*\n(?P<text>.*?)^```$", re.MULTILINE | re.DOTALL
)
_PYTHON = re.compile(r"^\s*```(?:python|py)\b", re.MULTILINE)


def blocks(text: str, name: str) -> list[str]:
    """Return the contents of every fenced block of that name."""
    return [match["text"] for match in _BLOCK.finditer(text) if match["name"] == name]


def main(arguments: list[str]) -> int:
    name, page = (*arguments, "README.md")[:2]
    text = Path(page).read_text(encoding="utf-8")
    found = blocks(text, name)
    if name == "python":
        unmarked = len(_PYTHON.findall(text)) - len(found)
        if unmarked:
            print(
                f"{page} has {unmarked} blocks of Python without <!-- ci: python -->",
                file=sys.stderr,
            )
            return 1
    elif not found:
        print(f"{page} has no fenced block below a line <!-- ci: {name} -->", file=sys.stderr)
        return 1
    print("\n".join(found), end="")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
