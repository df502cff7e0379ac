"""What can be wrong with a request before anything of it is stored, told without HTTP.

::

    RequestError
    ├── NotAForm            the body is no multipart form
    ├── MalformedForm       the form breaks the rules of multipart
    ├── WrongParts          a part is missing, repeated, empty or unknown
    ├── TooManyFiles        the form has more files than one upload takes
    ├── BodyTooLarge        the body is larger than allowed
    ├── BodyStalled         no byte came for too long
    ├── ClientGone          the client left before its body was complete
    └── NotReady            uploads do not work at the moment
"""

from __future__ import annotations

from collections.abc import Mapping


class RequestError(Exception):
    """The root: the request was refused."""


class NotAForm(RequestError):
    """The body is not multipart/form-data."""

    def __init__(self, given: str | None) -> None:
        instead = repr(given[:100]) if given else "a body without Content-Type"
        super().__init__(f"send the files as multipart/form-data, not as {instead}")


class MalformedForm(RequestError):
    """The form breaks the rules of multipart."""


class WrongParts(RequestError):
    """A part of the form is missing, empty, repeated or unknown."""


class TooManyFiles(RequestError):
    """The form has more files than one upload takes."""

    def __init__(self, limit: int) -> None:
        super().__init__(f"one upload takes up to {limit} files")


class BodyTooLarge(RequestError):
    """The body is larger than allowed."""

    def __init__(self, limit: int) -> None:
        super().__init__(f"the body is larger than the {limit} bytes allowed here")


class BodyStalled(RequestError):
    """No byte of the body came for too long."""

    def __init__(self, seconds: float) -> None:
        super().__init__(f"no byte of the body came for {seconds:g} seconds")


class ClientGone(RequestError):
    """The client left before its body was complete. Nobody is there to read the answer."""


class NotReady(RequestError):
    """Uploads do not work: MongoDB does not answer, or is not set up."""

    def __init__(self, checks: Mapping[str, str]) -> None:
        self.checks = dict(checks)
        super().__init__(f"MongoDB: {checks['mongodb']}")
