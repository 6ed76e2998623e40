"""`make docs`: lays the Markdown pages out as the repository has them, and has mkdocs make a site of them.

Each page stands in the site twice, as HTML and as the Markdown that it was made from, which `llms.txt` lists.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
PAGES, SITE = ROOT / "build" / "pages", ROOT / "build" / "site"
PARTS = ("*.md", "docs/*.md", "docs/*.png", "docs/*.json", "load/results/reference/report.md")
PARTS += ("load/results/reference/plots/*.png", "load/*.py", "examples/*.py", "load/sweep/results.schema.json")


def main() -> int:
    """Make the site; the exit status is that of mkdocs."""
    shutil.rmtree(PAGES, ignore_errors=True)
    for part in PARTS:
        for file in ROOT.glob(part):
            copy = PAGES / file.relative_to(ROOT)
            copy.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(file, copy)
    command = [sys.executable, "-m", "mkdocs", "build", "--strict", "--quiet"]
    done = subprocess.run(command, cwd=ROOT, env={**os.environ, "NO_MKDOCS_2_WARNING": "1"}, check=False)
    if done.returncode:
        return done.returncode
    for page in PAGES.rglob("*.md"):
        shutil.copyfile(page, SITE / page.relative_to(PAGES))
    shutil.copyfile(ROOT / "llms.txt", SITE / "llms.txt")
    print(f"{SITE.relative_to(ROOT)}/index.html")
    return 0


if __name__ == "__main__":
    sys.exit(main())
