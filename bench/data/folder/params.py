"""What a user may say about a folder of pictures."""

from __future__ import annotations

from pydantic import Field

from bench.interfaces.plugin import Params

NONE = "none"
"""Value of ``condition_column`` for a folder whose second pictures are no hints."""


class FolderParams(Params):
    """Where the pictures lie, and which part of what lies there is meant.

    Attributes:
        path: the folder.
        crops: random square crops taken from each picture, each a record; 1 takes the centre. The
            crops of one picture share its identity, so they never fall into two splits.
        split: which split of the folder is read where it holds several, such as ``train``.
        image_column: column of the metadata with the pictures; without metadata, the sub-folder
            with them.
        caption_column: column of the metadata with the prompts.
        condition_column: column of the metadata with the hints; without metadata, the sub-folder
            with them; ``none`` says that there are no hints.
        identity_column: column of the metadata that names who or what is shown.
        seed: of the draw of one caption where a picture has several.
        near_copies: keep pictures that are nearly the same in one split; false looks for exact
            copies only.
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
        """How the same folder is asked for with other choices, for a sentence that says what to do."""
        return f"--data folder:path={self.path}" + "".join(
            f",{name}={value}" for name, value in choices.items()
        )
