"""Preprocessor of mdBook: links to files outside of docs/ lead to the repository, and images outside come from it."""

import json
import posixpath
import re
import sys

REPOSITORY = "https://github.com/monitoringdaemon/monitoringdaemon"


def rewritten(content, chapter):
    def link(match):
        is_image, text, target = match.groups()
        path = posixpath.normpath(posixpath.join("docs", posixpath.dirname(chapter), target))
        if "://" in target or target.startswith("#") or path.startswith("docs/"):
            return match[0]
        return f"{is_image}[{text}]({REPOSITORY}/{'raw' if is_image else 'blob'}/main/{path})"

    return re.sub(r"(!?)\[([^\]]*)\]\(([^)\s]+)\)", link, content)


def walk(items):
    for item in items:
        if chapter := isinstance(item, dict) and item.get("Chapter"):
            if chapter["path"]:
                chapter["content"] = rewritten(chapter["content"], chapter["path"])
            walk(chapter["sub_items"])


if sys.argv[1:2] == ["supports"]:
    sys.exit(0)
_, book = json.load(sys.stdin)
walk(book.get("items") or book.get("sections"))
json.dump(book, sys.stdout)
