"""A project stores no more than its quota, and whatever it stores can be read, page by page."""

from __future__ import annotations

import pytest

from town import STORED_BYTES_MAX

ITEM_BYTES = 1_000_000
HISTORY_BYTES = 17_000_000
# More than the quota by so much was written when it was refused.
ITEMS_MAX = 2 * STORED_BYTES_MAX // ITEM_BYTES
PAGE_BYTES_MAX = 16 << 20


def item(text: str) -> dict:
    return {"type": "message", "role": "user", "content": text}


def fill(http, conversation: str, bytes_max: int) -> object:
    """Items of a MiB until there are so many bytes or it is refused; the last answer."""
    answer = None
    for at in range(bytes_max // ITEM_BYTES):
        body = {"items": [item(f"{at:06}" + "x" * (ITEM_BYTES - 6))]}
        answer = http.post(f"/v1/conversations/{conversation}/items", json=body)
        if answer.status_code != 200:
            break
    return answer


@pytest.fixture
def tenant(stage):
    """A key of a project of its own: what it fills is nobody else's."""
    limits = {"requests_per_minute": 100_000, "tokens_per_minute": 1_000_000_000}
    project = stage.admin.make_project("a hoarder", rate_limits=limits)
    key = stage.admin.make_key(project=project, name="a hoarder", rate_limits=limits)
    with stage.edge.http(key.secret) as http:
        yield http


def pages(http, conversation: str) -> int:
    """Reads all pages, the largest that may be asked for; how many items there were."""
    items, after = 0, {}
    while True:
        path = f"/v1/conversations/{conversation}/items"
        answer = http.get(path, params={"limit": 100, "order": "asc", **after})
        assert answer.status_code == 200, (answer.status_code, answer.text[:300])
        assert len(answer.content) <= PAGE_BYTES_MAX, len(answer.content)
        page = answer.json()
        items += len(page["data"])
        if not page["has_more"]:
            return items
        after = {"after": page["data"][-1]["id"]}


def test_a_project_has_a_quota_that_is_its_own(stage, tenant):
    conversation = tenant.post("/v1/conversations", json={}).json()["id"]
    with stage.neighbours().beside() as neighbours:
        answer = fill(tenant, conversation, ITEMS_MAX * ITEM_BYTES)
        assert answer.status_code in (403, 429), answer.status_code
        assert answer.json()["error"]["code"] == "quota_exceeded", answer.text
        stored = pages(tenant, conversation)
        assert 0 < stored * ITEM_BYTES <= STORED_BYTES_MAX + ITEM_BYTES
        # Others have room, and who makes room has some again.
        with stage.edge.http(stage.other.secret) as other:
            assert other.post("/v1/conversations", json={}).status_code == 200
        assert tenant.delete(f"/v1/conversations/{conversation}").status_code == 200
        again = tenant.post("/v1/conversations", json={"items": [item("Hello")]})
        assert again.status_code == 200, again.text
    neighbours.unharmed()


def test_a_long_history_is_answered_and_read(stage, tenant):
    conversation = tenant.post("/v1/conversations", json={}).json()["id"]
    with stage.edge.http(stage.other.secret) as other, stage.neighbours().beside() as neighbours:
        mine = other.post("/v1/conversations", json={"items": [item("Hello")]}).json()["id"]
        answer = fill(tenant, conversation, HISTORY_BYTES)
        assert answer.status_code == 200, answer.text
        assert pages(tenant, conversation) == HISTORY_BYTES // ITEM_BYTES
        assert other.get(f"/v1/conversations/{mine}/items").status_code == 200
        for _ in range(2):
            body = {**stage.chat("[script chunks=1]"), "conversation": conversation}
            answer = tenant.post("/v1/chat/completions", json=body)
            assert answer.status_code == 200, answer.text
    neighbours.unharmed()
