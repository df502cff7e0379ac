"""What can be wrong with a request before anything of it is stored, told without HTTP.

::

    RequestError
    ├── NotAForm            the body is no form of the kind that is wanted
    ├── MalformedForm       the form breaks the rules of multipart
    ├── WrongParts          a part is missing, repeated, empty or unknown
    ├── TooManyFiles        the form has more files than one upload takes
    ├── Duplicate           a unique index, which is not the API's, allows no second such document
    ├── WriteRefused        MongoDB refuses the write, and would each time: a validator, or the document itself
    ├── BodyTooLarge        the body is larger than allowed
    ├── BodyStalled         no byte came for too long
    ├── ClientGone          the client left before its body was complete
    ├── OtherHost           an API without keys is called by a name that is not this machine's own
    ├── NotAuthenticated    there is no key, or none that is known
    │   ├── UnknownKey      there is a key, and it is not known
    │   └── LoginNeeded     nobody is logged in
    ├── FormExpired         a form of the dashboard was made for another session
    ├── NotAllowed          the key has not the scope that this needs
    ├── FromAnotherSite     a page of another site makes the request
    ├── TooManyRequests     the key has had its share for now
    │   ├── TooManyGuesses  the address has shown too many keys that are not known
    │   └── TooManyStreams  too many pages of the dashboard are open
    └── NotReady            uploads do not work at the moment
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from pymongo.errors import DuplicateKeyError


class RequestError(Exception):
    """The root: the request was refused."""


class NotAForm(RequestError):
    """The body is no form of the kind that is `wanted`."""

    def __init__(self, given: str | None, *, wanted: str = "multipart/form-data") -> None:
        instead = repr(given[:100]) if given else "a body without Content-Type"
        super().__init__(f"send the form as {wanted}, not as {instead}")


class MalformedForm(RequestError):
    """The form breaks the rules of multipart."""


class WrongParts(RequestError):
    """A part of the form is missing, empty, repeated or unknown."""


class TooManyFiles(RequestError):
    """The form has more files than one upload takes."""

    def __init__(self, limit: int) -> None:
        super().__init__(f"one upload takes up to {limit} files")


class Duplicate(RequestError):
    """A unique index, which is not the API's, allows no second document of these values."""

    def __init__(self, error: DuplicateKeyError) -> None:
        fields = " and ".join((error.details or {}).get("keyPattern") or ["some values"])
        super().__init__(
            f"a unique index of this database lets only one document have the same {fields}, and another one has it, "
            "perhaps that of an upload which is under way: nothing was stored or changed"
        )


class WriteRefused(RequestError):
    """MongoDB refuses what is to be written, and would each time: a validator of somebody else, or a document's size or
    types. Nothing was stored or changed."""

    def __init__(self, why: str) -> None:
        super().__init__(f"nothing was stored or changed, and will not be when the request is repeated: {why}")


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


class OtherHost(RequestError):
    """An API without keys is called by a name that is not this machine's own: perhaps by a page of another site."""

    def __init__(self, names: Iterable[str]) -> None:
        super().__init__(
            f"without keys, the API answers only when it is called {', '.join(names)}. To call it by another name, "
            "make a key with `outbox key new`, and set OUTBOX_API_KEYS. If something before the API asks who is there, "
            "set OUTBOX_API_OPEN_TO_ALL=true instead"
        )


class NotAuthenticated(RequestError):
    """The request has no key, or none that is known here."""


class UnknownKey(NotAuthenticated):
    """The request shows a key that is not known here."""


class LoginNeeded(NotAuthenticated):
    """A page of the dashboard is asked for, and nobody is logged in. `wanted` is where to go after it."""

    def __init__(self, path: str, query: str) -> None:
        super().__init__("log in with a key")
        self.wanted = f"{path}?{query}" if query else path


class FormExpired(RequestError):
    """A form of the dashboard was made for another session, or by somebody else."""


class NotAllowed(RequestError):
    """The key has not the scope that this needs."""

    def __init__(self, name: str, scope: str) -> None:
        super().__init__(f"this needs the scope `{scope}`, which the key of {name} has not")
        self.scope = scope


class FromAnotherSite(RequestError):
    """A page of another site makes the request, perhaps without its reader's knowledge."""


class TooManyRequests(RequestError):
    """The key has made as many requests as it may for now."""

    def __init__(self, rate: str, seconds: int) -> None:
        super().__init__(f"the key has had its {rate}; wait {seconds} s")
        self.seconds = seconds


class TooManyGuesses(TooManyRequests):
    """Too many keys that are not known came from one address."""

    def __init__(self, limit: int, seconds: int) -> None:
        RequestError.__init__(
            self, f"more than {limit} attempts a minute from your address: wait {seconds} s, and check the key"
        )
        self.seconds = seconds


class TooManyStreams(TooManyRequests):
    """Too many pages of the dashboard are open."""

    def __init__(self) -> None:
        RequestError.__init__(self, "too many pages of the dashboard are open: close some, or load this one later")
        self.seconds = 60


class NotReady(RequestError):
    """Uploads do not work: MongoDB does not answer, or is not set up."""

    def __init__(self, checks: Mapping[str, str]) -> None:
        self.checks = dict(checks)
        super().__init__(f"MongoDB: {checks['mongodb']}")
