"""What the operator may call things."""

from typing import Annotated

from msgspec import Meta

Name = Annotated[
    str,
    Meta(
        pattern=r"\A[A-Za-z0-9][A-Za-z0-9_.@+-]{0,63}\Z",
        description="1 to 64 letters, digits or any of _ . @ + -, the first a letter or digit",
    ),
]
ModelName = Annotated[
    str,
    Meta(
        pattern=r"\A(?=[^*]*\*?[^*]*\Z)[!-~]{1,200}\Z",
        description="1 to 200 printable characters without spaces, at most one of them a *",
    ),
]
