"""What an owner does through the API: projects, keys, usage.

One place that knows these routes' shapes, so that tests read as sentences.
"""

from __future__ import annotations

import time
from dataclasses import dataclass

import httpx2

PROJECTS = "/v1/organization/projects"


@dataclass(frozen=True)
class Key:
    id: str
    secret: str
    project: str


class Admin:
    def __init__(self, http: httpx2.Client):
        self.http = http

    def default_project(self) -> str:
        page = self._ok(self.http.get(PROJECTS))
        return page["data"][0]["id"]

    def make_project(self, name: str, **fields: object) -> str:
        return self._ok(self.http.post(PROJECTS, json={"name": name, **fields}))["id"]

    def make_key(self, project: str | None = None, **fields: object) -> Key:
        project = project or self.default_project()
        body = {"name": "a test", **fields}
        made = self._ok(self.http.post(f"{PROJECTS}/{project}/api_keys", json=body))
        return Key(made["id"], made["value"], project)

    def keys(self, project: str) -> list[dict[str, object]]:
        return self._ok(self.http.get(f"{PROJECTS}/{project}/api_keys"))["data"]

    def revoke(self, key: Key) -> None:
        gone = self._ok(self.http.delete(f"{PROJECTS}/{key.project}/api_keys/{key.id}"))
        assert gone["deleted"] and gone["id"] == key.id

    def usage(self, **query: object) -> dict[str, int]:
        """Sums over all buckets of the last hour."""
        query = {"start_time": int(time.time()) - 3600, **query}
        page = self._ok(self.http.get("/v1/organization/usage/completions", params=query))
        results = [result for bucket in page["data"] for result in bucket["results"]]
        names = ("input_tokens", "output_tokens", "num_model_requests")
        return {name: sum(result[name] for result in results) for name in names}

    @staticmethod
    def _ok(response: httpx2.Response) -> dict:
        assert response.is_success, f"{response.request.url}: {response.status_code} {response.text}"
        return response.json()
