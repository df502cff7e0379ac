from __future__ import annotations

from outbox.embedded import ports
from outbox.web import keys
from outbox.web.keys import Scope
from tests.cli.conftest import Cli


def test_a_new_key_opens_what_its_line_says(cli: Cli) -> None:
    made = cli("key", "new", "--name", "alice", "--scope", "read", "--scope", "operate")
    assert made.code == 0
    secret = made.out.strip()
    line = made.err.partition("OUTBOX_API_KEYS='")[2].partition("'")[0]
    found = keys.read(line).find(secret)
    assert found
    assert found.name == "alice"
    assert found.scopes == {Scope.READ, Scope.OPERATE}
    assert secret not in made.err, "what is piped into a file of settings must not hold it"


def test_a_new_key_as_json(cli: Cli) -> None:
    made = cli("key", "new", "--name", "ci", "--scope", "upload", "--json").json
    assert keys.read(made["line"]).find(made["key"])


def test_wrong_names_and_scopes_are_usage_errors(cli: Cli) -> None:
    assert cli("key", "new", "--name", "a b", "--scope", "read").code == 2
    assert cli("key", "new", "--name", "a", "--scope", "root").code == 2
    assert cli("key", "new", "--name", "a").code == 2


def test_up_does_not_open_the_door_to_the_network(cli: Cli) -> None:
    refused = cli("up", "--host", "0.0.0.0", "--port", str(ports.pick("0.0.0.0")))
    assert refused.code == 2, refused.err
    assert "OUTBOX_API_KEYS" in refused.err
