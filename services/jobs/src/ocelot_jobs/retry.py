"""Sends dead letters again, because a process that signs must do it."""

from collections import Counter
from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any, Final

from ocelot_common.batching import batched
from ocelot_common.dead_letters import DeadLetterStore, Reason, Stage
from ocelot_common.holds import HoldStore
from ocelot_common.queue.client import SqsClient
from ocelot_common.queue.keys import QueueKeys
from ocelot_common.queue.moving import send_each
from ocelot_common.queue.resigning import NotResignableError
from ocelot_common.queue.sending import Outgoing
from ocelot_common.registry.model import TenantState
from ocelot_common.registry.store import RegistryStore
from ocelot_common.telemetry.logs import get_logger
from ocelot_common.timestamps import to_ms
from ocelot_jobs.leases import JobFailedError, Lease, TryAgainError
from ocelot_jobs.resigning import messages_of_letter

#: A letter may hold 4 MB.
_LETTERS_AT_ONCE: Final = 20
#: What a repeated attempt at a job must not count again.
_ENDED: Final = ("sent", "dropped")
#: What a letter of another form than ours raises: whoever may write to the database can plant one.
_BROKEN: Final = (KeyError, TypeError, ValueError, AttributeError, OverflowError)

log = get_logger(__name__)


class UnknownTenantError(Exception):
    """The registry does not know whose a letter is."""


class Retry:
    """The work of jobs of kind `retry`.

    A job's specification holds `keys`, whole keys of letters, or `all` and maybe a tenant's `uid`;
    and `new_id`. Its progress tells how many letters were `sent`, `dropped` because their tenant is
    deleted or their event past its cutoff, and left as a `conflict`, of an `unknown_tenant`,
    because they are `unreadable`, or `held`: they would be dropped, but their tenant has a legal
    hold. A letter is removed when SQS has its messages, unless the same fault was met again
    meanwhile; a crash in between repeats them, which changes nothing.

    Args:
        sqs: the client.
        queue_urls: of the queues, by the stage of their letters.
        keys: one of them signs.
        dead_letters: where letters are.
        store: of the registry.
        holds: of the tenants whose letters are dropped.
    """

    def __init__(
        self,
        *,
        sqs: SqsClient,
        queue_urls: Mapping[Stage, str],
        keys: QueueKeys,
        dead_letters: DeadLetterStore,
        store: RegistryStore,
        holds: HoldStore,
    ) -> None:
        self._sqs = sqs
        self._queue_urls = queue_urls
        self._keys = keys
        self._dead_letters = dead_letters
        self._store = store
        self._holds = holds

    async def run(self, lease: Lease) -> None:
        """Send the letters that are still there.

        Raises:
            JobFailedError: the specification cannot be understood.
            TryAgainError: SQS did not take some of them.
            NoSigningKeyError: there is no key to sign with now.
        """
        spec = lease.job.spec
        keys = spec.get("keys")
        if spec.get("all"):
            keys = await self._dead_letters.keys_of(spec.get("uid"))
        if not isinstance(keys, list):
            raise JobFailedError("The job names no dead letters.")
        counts: Counter[str] = Counter({what: lease.job.progress.get(what, 0) for what in _ENDED})
        failed = 0
        for part in batched(keys, _LETTERS_AT_ONCE):
            letters = await self._dead_letters.get(part)
            before = [counts[what] for what in _ENDED]
            try:
                failed += await self._retry(letters, counts, new_id=bool(spec.get("new_id")))
            except Exception:
                # The next attempt does not find these letters. Without any, the attempt got no
                # further: to save would begin to count attempts anew. A job that is cancelled does
                # not count the letters of this part: nothing may hold up the end of its process.
                if before != [counts[what] for what in _ENDED]:
                    await lease.save(progress=counts)
                raise
            await lease.save(progress=counts)
        if failed:
            raise TryAgainError(f"SQS did not accept {failed} dead letters.")

    async def tidy(self, lease: Lease) -> None:
        """There is nothing to undo."""

    async def _retry(
        self, letters: Sequence[Mapping[str, Any]], counts: Counter[str], *, new_id: bool
    ) -> int:
        """Send letters; return how many SQS did not take."""
        key = self._keys.signing_key()
        queued: dict[Stage, list[tuple[str, Outgoing]]] = {stage: [] for stage in Stage}
        pending: Counter[str] = Counter()
        attempts: dict[str, int] = {}
        for letter in letters:
            if letter.get("reason") == Reason.CONFLICT and not new_id:
                counts["conflict"] += 1
                continue
            try:
                if await self._is_dropped(letter):
                    dropped = await self._holds.unless_held(
                        letter["t"], partial(self._dead_letters.remove, letter["_id"])
                    )
                    if dropped is None:
                        counts["held"] += 1
                    else:
                        counts["dropped"] += dropped  # unless somebody else removed it meanwhile
                    continue
                made = list(messages_of_letter(letter, key, new_id=new_id))
                stage = Stage(letter["stage"])
            except UnknownTenantError as error:
                log.warning("dead_letter_left", key=letter["_id"], reason=str(error))
                counts["unknown_tenant"] += 1
                continue
            except (NotResignableError, *_BROKEN) as error:
                log.warning("dead_letter_left", key=letter["_id"], reason=repr(error)[:300])
                counts["unreadable"] += 1
                continue
            queued[stage] += [(letter["_id"], message) for message in made]
            pending[letter["_id"]] = len(made)
            attempts[letter["_id"]] = letter.get("attempts", 0)
        for stage, messages in queued.items():
            if messages:
                arrived = await self._send(stage, [message for _, message in messages])
                for (letter_key, _), there in zip(messages, arrived, strict=True):
                    pending[letter_key] -= there
        for letter_key, missing in pending.items():
            if not missing:
                # What fails again is the same letter, and it may be kept before this line runs.
                await self._dead_letters.remove(letter_key, attempts=attempts[letter_key])
                counts["sent"] += 1
        return sum(missing > 0 for missing in pending.values())

    async def _send(self, stage: Stage, messages: Sequence[Outgoing]) -> list[bool]:
        url = self._queue_urls.get(stage)
        if url is None:
            raise JobFailedError(
                "The jobs worker needs SQS_INDEX_QUEUE_URL to retry these dead letters."
            )
        return await send_each(self._sqs, url, messages)

    async def _is_dropped(self, letter: Mapping[str, Any]) -> bool:
        if not letter["t"]:
            return False
        tenant = await self._store.tenant(letter["t"])
        if tenant is None:
            # A deleted tenant has its tombstone. The registry may have lost this one.
            raise UnknownTenantError(f"the registry has no tenant with the uid {letter['t']}")
        if tenant.state is TenantState.DELETED:
            return True
        received = letter.get("received_at")
        return received is not None and to_ms(received) < tenant.cutoff_ms()
