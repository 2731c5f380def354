"""Pages of the documentation link to files outside ``docs/``; this hook takes them into the site.

A link such as ``../results/leaderboard.md`` works where the repository is read as files. In the
site the file stands under ``repository/``, and the link leads there.
"""

from __future__ import annotations

import os
import re
from pathlib import Path, PurePosixPath
from typing import Any

from mkdocs.structure.files import File, Files

ROOT = Path(__file__).resolve().parents[2]
PREFIX = "repository/"
LINK = re.compile(r"(\]\()([^)\s#]+)(#[^)\s]*)?(\))")


def _outside(target: str, folder: str) -> str | None:
    """Return the path of a linked file from the repository's root, or None for any other link."""
    if re.match(r"[a-z]+:", target):
        return None
    path = os.path.normpath(os.path.join(folder, target)).replace(os.sep, "/")
    return path if (ROOT / path).is_file() and not path.startswith("docs/") else None


def _folder(src_uri: str) -> str:
    """Return the folder of a page from the repository's root."""
    in_site = str(PurePosixPath(src_uri).parent)
    if src_uri.startswith(PREFIX):
        return str(PurePosixPath(in_site).relative_to(PREFIX.rstrip("/")))
    return str(PurePosixPath("docs") / in_site)


def on_files(files: Files, config: Any) -> Files:
    """Add each file outside ``docs/`` that a page links to, and those that such files link to."""
    waiting = [file for file in files if file.src_uri.endswith(".md")]
    known = {file.src_uri for file in files}
    while waiting:
        page = waiting.pop()
        for _, target, _, _ in LINK.findall(page.content_string):
            path = _outside(target, _folder(page.src_uri))
            if path is None or PREFIX + path in known:
                continue
            added = File.generated(config, PREFIX + path, abs_src_path=str(ROOT / path))
            known.add(added.src_uri)
            files.append(added)
            if path.endswith(".md"):
                waiting.append(added)
    return files


def on_page_markdown(markdown: str, page: Any, config: Any, files: Files) -> str:
    """Turn links between ``docs/`` and the rest of the repository into links of the site."""
    folder = _folder(page.file.src_uri)
    here = str(PurePosixPath(page.file.src_uri).parent)

    def lead(match: re.Match[str]) -> str:
        before, target, anchor, after = match.groups()
        path = _outside(target, folder)
        if path is not None:
            uri = PREFIX + path
        elif page.file.src_uri.startswith(PREFIX) and not re.match(r"[a-z]+:", target):
            uri = os.path.normpath(os.path.join(folder, target)).removeprefix("docs/")
        else:
            return match[0]
        return f"{before}{os.path.relpath(uri, here)}{anchor or ''}{after}"

    return LINK.sub(lead, markdown)
