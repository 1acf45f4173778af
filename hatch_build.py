"""What the package index shows: the links of the project, and the README with absolute ones.

`pyproject.toml` names this file. The address of the repository stands in it once.
"""

import re
from pathlib import Path
from typing import Any

from hatchling.metadata.plugin.interface import MetadataHookInterface

# The beginning of a link in Markdown or of an image in HTML, and its target in the repository.
LINK = re.compile(r'(!\[[^]]*\]\(|\]\(|src=")(?![a-z]+:|#)([^)"]+)')


def absolute(text: str, repository: str) -> str:
    """Return a text of Markdown with links into the repository instead of relative ones.

    Images are linked as files, everything else as the pages that show it.
    """

    def link(match: re.Match) -> str:
        kind = "blob" if match[1].startswith("]") else "raw"
        return f"{match[1]}{repository}/{kind}/main/{match[2]}"

    return LINK.sub(link, text)


class Metadata(MetadataHookInterface):
    """Fills in the fields that `pyproject.toml` calls dynamic."""

    def update(self, metadata: dict[str, Any]) -> None:
        """Set the links and the text of the project's page."""
        repository = self.config["repository"]
        readme = (Path(self.root) / "README.md").read_text(encoding="utf-8")
        metadata["readme"] = {
            "content-type": "text/markdown",
            "text": absolute(readme, repository),
        }
        metadata["urls"] = {
            "Homepage": repository,
            "Documentation": self.config["documentation"],
            "Repository": repository,
            "Issues": f"{repository}/issues",
            "Changelog": f"{repository}/blob/main/CHANGELOG.md",
        }
