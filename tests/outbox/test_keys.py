from __future__ import annotations

from hashlib import sha256

import pytest

from outbox.errors import SettingsError, UsageError
from outbox.web import keys
from outbox.web.keys import ALL, Keys, Scope


def test_a_key_is_found_by_its_secret_and_by_nothing_else() -> None:
    first, one = keys.make("alice", [Scope.READ])
    second, other = keys.make("alice", [Scope.READ, Scope.OPERATE])
    both = Keys([one, other])
    assert both.find(first) == one
    assert both.find(second) == other
    for wrong in ("", one.digest, first[:-1], first + " ", first.upper(), "é", "\udce9"):
        assert both.find(wrong) is None
    assert Keys([other]).find(first) is None, "taken out"


def test_lines_are_read_as_they_were_made() -> None:
    made = [keys.make(name, scopes)[1] for name, scopes in (("a", [Scope.UPLOAD]), ("b.c_d-1", ALL))]
    assert list(keys.read("  \n ".join(key.line for key in made))) == made
    assert len(keys.read("")) == 0


def test_no_secret_is_like_another_and_no_line_holds_one() -> None:
    secrets = {keys.make("a", [Scope.READ])[0] for _ in range(100)}
    assert len(secrets) == 100
    assert min(map(len, secrets)) >= 4 + 43
    secret, key = keys.make("a", [Scope.READ])
    assert secret not in key.line
    assert key.digest not in key.fingerprint
    assert Keys([key]).with_fingerprint(key.fingerprint) == key
    assert Keys().with_fingerprint(key.fingerprint) is None


@pytest.mark.parametrize(
    ("line", "told"),
    [
        ("alice", "number 1 is not NAME:SCOPE"),
        (f"alice:read:{'A' * 64}", "number 1 is not"),
        (f"a b:read:{'a' * 64}", "number 1 is not"),
        (f"alice:reed:{'a' * 64}", "'reed' is no scope; there are upload, read, operate"),
        (f"alice::{'a' * 64}", "'' is no scope"),
        (f"alice:read:{sha256(b'').hexdigest()}", "alice: its hash is that of an empty secret"),
        (f"a:read:{'a' * 64} b:operate:{'a' * 64}", "two keys have the same hash"),
    ],
)
def test_what_cannot_be_read_is_told_without_its_hash(line: str, told: str) -> None:
    with pytest.raises(SettingsError, match=told) as refused:
        keys.read(line)
    assert "aaaaaaaa" not in str(refused.value).lower()


def test_a_name_that_a_line_cannot_hold_is_refused() -> None:
    for name in ("", "a:b", "a b", "x" * 65, "é"):
        with pytest.raises(UsageError, match="use 1 to 64 letters"):
            keys.make(name, [Scope.READ])
    with pytest.raises(UsageError, match="at least one scope"):
        keys.make("a", [])


@pytest.mark.parametrize("host", ["127.0.0.1", "127.8.9.10", "::1", "localhost"])
def test_this_machine_may_be_open(host: str) -> None:
    keys.refuse_open_door(host, keys=False, open_to_all=False)


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "10.1.2.3", "", "no.such.host.invalid"])
def test_the_network_may_not_unless_told_in_words(host: str) -> None:
    with pytest.raises(SettingsError, match=r"outbox key new.*OUTBOX_API_KEYS.*OUTBOX_API_OPEN_TO_ALL=true"):
        keys.refuse_open_door(host, keys=False, open_to_all=False)
    keys.refuse_open_door(host, keys=True, open_to_all=False)
    keys.refuse_open_door(host, keys=False, open_to_all=True)
