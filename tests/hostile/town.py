"""A platform that is attacked: its tenants, and what is read of it from outside.

Knows no attack.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from admin import Admin, Key
from harness import Edge, metrics
from neighbours import Neighbours

UNLIMITED = {"requests_per_minute": 100_000, "tokens_per_minute": 1_000_000_000}
# Each is an address of the loopback that only attackers come from.
ATTACKERS = "127.0.0.2"
BLOCKED = "forbidden fruit"
# Of one project before the scripted backend, so that it is reached soon.
STORED_BYTES_MAX = 40_000_000


@dataclass(frozen=True)
class Town:
    """A platform, who attacks it, and who lives beside them."""

    edge: Edge
    admin: Admin
    model: str
    attacker: Key
    beside: Key
    """Another key of the attacker's project."""
    other: Key
    """A key of another project."""

    def neighbours(self, **fields: object) -> Neighbours:
        """What they ask is answered the same each time."""
        return Neighbours(self.edge, [self.beside.secret, self.other.secret], self.chat(**fields))

    def chat(self, text: str = "Hello!", **fields: object) -> dict:
        messages = [{"role": "user", "content": text}]
        usual = {"temperature": 0, "seed": 1, "tool_choice": "none", "max_tokens": 24}
        return {"model": self.model, "messages": messages, **usual, **fields}

    def key(self, name: str = "an attacker", **limits: int) -> Key:
        """One more key of the attacker's project, with the limits that are given."""
        return self.admin.make_key(
            project=self.attacker.project, name=name, rate_limits={**UNLIMITED, **limits}
        )

    def usage_of(self, key: Key) -> dict[str, int]:
        return self.admin.usage(api_key_ids=key.id)

    def deaths(self) -> float:
        return self.edge_metrics().get("edge_backend_restarts_total", 0.0)

    def edge_metrics(self) -> dict[str, float]:
        return metrics(self.edge.operator)


@contextmanager
def town_of(edge: Edge) -> Iterator[Town]:
    """Its tenants. Who manages them may do so as often as a test asks."""
    with edge.http(edge.first_key) as http:
        first = Admin(http)
        project = first.make_project("owners", rate_limits=UNLIMITED)
        owner = first.make_key(project=project, role="owner", rate_limits=UNLIMITED)
    with edge.http(owner.secret) as http:
        yield settle_in(edge, Admin(http))


def settle_in(edge: Edge, admin: Admin) -> Town:
    attacked = admin.make_project("attacked", rate_limits=UNLIMITED)
    another = admin.make_project("another", rate_limits=UNLIMITED)

    def key(project: str, name: str) -> Key:
        return admin.make_key(project=project, name=name, rate_limits=UNLIMITED)

    attacker, beside, other = (
        key(project, name)
        for project, name in ((attacked, "attacker"), (attacked, "beside"), (another, "other"))
    )
    with edge.http(other.secret) as http:
        model = http.get("/v1/models").json()["data"][0]["id"]
    return Town(edge, admin, model, attacker, beside, other)
