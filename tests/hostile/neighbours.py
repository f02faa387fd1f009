"""Well-behaved neighbours: they chat while another attacks, and compare what they are told.

Each lane is a chat after the other, on connections of its own; what every chat must say was
learned before the attack. Knows nothing of attacks.
"""

from __future__ import annotations

import asyncio
import json
import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

from crowd import Client, Stream
from harness import Edge

# Longer than any unloaded chat of a neighbour by far: what takes longer has hung.
CHAT_S_MAX = 90.0


@dataclass(frozen=True)
class Said:
    """What of a stream must be the same each time: its bytes without its id and its date."""

    status: int
    text: str
    finish_reasons: tuple[str, ...]
    usage: str
    whole: bool

    @staticmethod
    def by(stream: Stream) -> Said:
        usages = [json.loads(e).get("usage") for e in stream.events if e != "[DONE]"]
        counts = [(u["prompt_tokens"], u["completion_tokens"]) for u in usages if u]
        return Said(
            stream.status,
            stream.text(),
            tuple(stream.finish_reasons()),
            str(counts),
            stream.is_whole(),
        )


@dataclass
class Neighbours:
    """Two tenants, or two keys of one, by their secrets."""

    edge: Edge
    secrets: list[str]
    body: dict
    said: list[Said] = field(default_factory=list)
    seconds: list[float] = field(default_factory=list)
    """Of each chat that began during the attack."""
    expected: Said | None = None
    _attacked: bool = False
    _over: threading.Event = field(default_factory=threading.Event)
    _met: threading.Condition = field(default_factory=threading.Condition)

    def chat(self, secret: str) -> Said:
        return asyncio.run(self._chat(secret))

    def wait_for(self, chats: int) -> None:
        """Until so many more chats are over: an attack lasts as long as it is felt."""
        with self._met:
            goal = len(self.said) + chats
            self._met.wait_for(lambda: len(self.said) >= goal)

    def unharmed(self) -> None:
        """None broken, none refused, none told anything else."""
        assert self.said, "no neighbour chatted during the attack"
        harmed = [said for said in self.said if said != self.expected]
        statuses = Counter(said.status for said in self.said)
        assert not harmed, f"{len(harmed)} of {len(self.said)} {statuses}: {harmed[:3]}"

    async def _chat(self, secret: str) -> Said:
        body = {"stream_options": {"include_usage": True}, **self.body}
        client = Client(self.edge, secret, body)
        try:
            async with asyncio.timeout(CHAT_S_MAX):
                await client.send()
                await client.read()
        except (OSError, IndexError, TimeoutError, asyncio.IncompleteReadError):
            pass  # What came of it is what is compared.
        finally:
            client.vanish()
        return Said.by(client.stream)

    async def _lane(self, secret: str) -> None:
        while not self._over.is_set():
            began, counts = time.monotonic(), self._attacked
            said = await self._chat(secret)
            if counts:
                with self._met:
                    self.said.append(said)
                    self.seconds.append(time.monotonic() - began)
                    self._met.notify_all()

    async def _lanes(self, a_secret: int) -> None:
        await asyncio.gather(*(self._lane(s) for s in self.secrets for _ in range(a_secret)))

    @contextmanager
    def beside(self, lanes_a_secret: int = 1) -> Iterator[Neighbours]:
        """They chat until the block ends, and see at least one chat of each lane through."""
        [self.expected] = {self.chat(secret) for secret in self.secrets}
        assert self.expected.whole, self.expected
        lanes = threading.Thread(target=lambda: asyncio.run(self._lanes(lanes_a_secret)))
        lanes.start()
        self._attacked = True
        try:
            yield self
            self.wait_for(lanes_a_secret * len(self.secrets))
        finally:
            self._over.set()
            lanes.join()
