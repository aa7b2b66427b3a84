"""Prints the section of CHANGELOG.md for a version, as the notes of its release: python3 release_notes.py VERSION [FILE]"""

import pathlib
import re
import sys


class Missing(Exception):
    """The changelog has no notes for the version."""


def notes(changelog, version):
    """Returns the text between the heading of `version` and the next one."""
    # `## 1.2.3`, or with a date: `## 1.2.3 - 2026-11-27`, `## [1.2.3] - 2026-11-27`.
    headings = list(re.finditer(r"^## \[?([^\]\s]+)\]?(?: - \d{4}-\d\d-\d\d)?[ ]*$", changelog, re.MULTILINE))
    for heading, following in zip(headings, [*headings[1:], None]):
        if heading[1] == version:
            text = changelog[heading.end() : following.start() if following else None].strip()
            if not text:
                raise Missing(f"the section of {version} in the changelog is empty")
            return text + "\n"
    found = ", ".join(heading[1] for heading in headings) or "none"
    raise Missing(f"no section `## {version}` in the changelog; there are: {found}")


def main(arguments):
    if not 1 <= len(arguments) <= 2:
        print(__doc__, file=sys.stderr)
        return 2
    path = pathlib.Path(arguments[1] if len(arguments) == 2 else "CHANGELOG.md")
    try:
        sys.stdout.write(notes(path.read_text(), arguments[0].removeprefix("v")))
    except (Missing, OSError) as error:
        print(error, file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
