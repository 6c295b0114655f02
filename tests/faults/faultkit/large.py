"""Events that are as large as events may be, for tenants whose answers are large."""

import random
from typing import Any, Final

from faultkit.client import BULK
from faultkit.harness import Access, Harness, holds

#: Of the tenant `large`; 29 MB together.
LARGE_NUMBER: Final = 500


async def post_events(faults: Harness, access: Access, events: list[dict[str, Any]]) -> None:
    """Store events of a tenant and wait until both stores have them."""
    part: list[dict[str, Any]] = []
    for event in [*events, None]:
        if part and (event is None or len(part) == 100):
            answer = await faults.http.post(
                f"{faults.api_url}{BULK}", json=part, headers=access.writer
            )
            assert answer.status_code == 202, answer.text
            assert answer.json()["rejected"] == 0, answer.text[:500]
            part = []
        if event is not None:
            part.append(event)

    async def there() -> bool:
        return await faults.stored_count([access]) == len(events) and await faults.indexed_count(
            [access]
        ) == len(events)

    assert await holds(there, timeout_sec=120, every_sec=0.5)


def large_events(seed: int, number: int) -> list[dict[str, Any]]:
    """Events of about 60 KiB; every second one has a character of four bytes."""
    rng = random.Random(seed)
    return [
        {
            "action": "large",
            "actor": {"id": f"u{index}"},
            "metadata": {"blob": rng.randbytes(29_000).hex(), "fox": "🦊" * (index % 2)},
        }
        for index in range(number)
    ]
