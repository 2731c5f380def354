"""The parameters of the data set ``folder``."""

from __future__ import annotations

from pydantic import Field

from bench.interfaces.plugin import Params

NONE = "none"
"""The value of ``condition_column`` for a folder whose further pictures are no hints."""


class FolderParams(Params):
    """Where the pictures lie, and which of them are used.

    Attributes:
        path: the folder.
        crops: random square crops taken from each picture, each a record; 1 takes the centre. The
            crops of one picture share its identity, so they never fall into two splits.
        split: which split of the folder is read where it holds several, such as ``train``.
        image_column: column of the metadata with the pictures; without metadata, the sub-folder
            with them.
        caption_column: column of the metadata with the prompts.
        condition_column: column of the metadata with the hints; without metadata, the sub-folder
            with them; ``none`` means that there are no hints.
        identity_column: column of the metadata that names the person or thing in a picture.
        seed: seed of the draw of one caption where a picture has several.
        near_copies: keep pictures that are nearly equal in one split; false considers exact copies
            only.
    """

    path: str
    crops: int = Field(1, ge=1)
    split: str = ""
    image_column: str = ""
    caption_column: str = ""
    condition_column: str = ""
    identity_column: str = ""
    seed: int = Field(0, ge=0)
    near_copies: bool = True

    def say(self, **choices: str) -> str:
        """Return the request for the same folder with other choices, for a message."""
        return f"--data folder:path={self.path}" + "".join(
            f",{name}={value}" for name, value in choices.items()
        )
