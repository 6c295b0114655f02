"""Keeps what the queues hold from one make dev to the next: LocalStack keeps nothing.

A message of the ingest queue is acknowledged events, and without one of the index queue the index
lacks events.
"""

import asyncio
from collections.abc import Iterator
from pathlib import Path
from types import TracebackType
from typing import Final, Self

import httpx

from ocelot_common import mongo
from ocelot_common.batching import batched
from ocelot_common.queue.client import SqsClient
from ocelot_common.queue.depth import read_depth
from ocelot_common.queue.keys import KeyFile, NoSigningKeyError, QueueKeys
from ocelot_common.queue.moving import Moved, moved_message
from ocelot_common.queue.resigning import NotResignableError, resigned
from ocelot_common.queue.sending import SQS_ERRORS, Outgoing, SendError, send_all
from ocelot_common.registry.model import QueueKeyRow
from ocelot_common.registry.store import RegistryStore
from ocelot_common.signed_text import Purpose
from ocelot_common.versioned import NewerVersionError
from ocelot_common.worker.refusing import FAULTS
from ocelot_devstack.console import Report
from ocelot_devstack.errors import DevstackError
from ocelot_devstack.queue_files import message_files, queue_of, read_messages, write_messages
from ocelot_devstack.queues import open_sqs
from ocelot_devstack.stack import Stack

#: Of the queues; what a dead letter queue holds goes back as it is.
_PURPOSES: Final = {"ingest": Purpose.INGEST, "index": Purpose.INDEX}
#: A message has up to 1 MiB.
_READ_AT_ONCE: Final = 50
#: SQS counts a message that is just becoming visible, and may not show it.
_LOOKS: Final = 10
_PAUSE_SEC: Final = 0.2


class KeptQueues:
    """An async context manager inside a started stack: at its end, the queues are saved.

    An SQS that somebody else runs keeps its queues, so nothing is saved or sent there.

    Args:
        stack: started; its services are stopped before anything is saved.
        report: gets lines for people.
    """

    def __init__(self, stack: Stack, report: Report) -> None:
        self._stack = stack
        self._report = report
        self._folder: Path = stack.settings.state_dir.resolve() / stack.name / "queues"

    async def __aenter__(self) -> Self:
        """Do nothing yet: `restore` needs the registry's keys."""
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Stop the services, and write what the queues hold to files."""
        await self._stack.stop_services()
        await self.save()

    async def restore(self) -> None:
        """Send what was saved, and remove the files. A crash in between sends it again.

        A message that verifies is signed anew, because it may have waited for longer than readers
        accept. One that does not goes to the dead letter queue as it is, as a worker moves it.

        Raises:
            DevstackError: a file cannot be understood, no key signs, or SQS does not take the
                messages. The files stay.
        """
        files = message_files(self._folder)
        if not files:
            return
        if self._stack.backends.sqs.process is None:
            self._report(
                f"{self._folder} has messages of a `make dev` with its own SQS. `make dev` sends"
                " them when it runs without AWS_ENDPOINT_URL_SQS."
            )
            return
        settings = self._stack.settings
        keys = await self._keys()
        async with open_sqs(self._stack.sqs_endpoint_url, settings.aws_env()) as sqs:
            for path in files:
                try:
                    sent = await self._send(sqs, path, keys)
                except (*SQS_ERRORS, SendError, NoSigningKeyError) as error:
                    raise DevstackError(
                        f"The messages of the last run in {path} could not be sent. They stay"
                        f" there: {error}"
                    ) from error
                path.unlink()
                self._report(
                    f"Sent {_counted(sent)} to the {_label(queue_of(path))}. The last run had saved"
                    f" {'it' if sent == 1 else 'them'}."
                )

    async def save(self) -> None:
        """Write what the queues hold to files, invisible messages included; report a loss."""
        process = self._stack.backends.sqs.process
        if process is None:
            return
        if not process.running:
            self._report("SQS stopped before its queues were saved. Their messages are lost.")
            return
        async with open_sqs(self._stack.sqs_endpoint_url, self._stack.settings.aws_env()) as sqs:
            # In this order: a worker that still runs elsewhere moves messages from a queue to the
            # next one. Then a message is saved twice, and stored once.
            for name, url in self._stack.queues.as_dict().items():
                try:
                    await self._save_one(sqs, name, url)
                except (httpx.HTTPError, *SQS_ERRORS, OSError, ValueError, KeyError) as error:
                    self._report(f"The messages of the {_label(name)} are lost: {error!r}")

    async def _save_one(self, sqs: SqsClient, name: str, url: str) -> None:
        for _ in range(_LOOKS):
            messages = await self._stack.backends.sqs.messages(url)
            missing = (await read_depth(sqs, url)).total - len(messages)
            if missing <= 0:
                break
            await asyncio.sleep(_PAUSE_SEC)
        if messages:
            path = await asyncio.to_thread(write_messages, self._folder, name, messages)
            self._report(f"Saved {_counted(len(messages))} of the {_label(name)} to {path}.")
        if missing > 0:
            self._report(
                f"{_counted(missing)} of the {_label(name)} could not be saved, because SQS did not"
                " return them."
            )

    async def _send(self, sqs: SqsClient, path: Path, keys: QueueKeys) -> int:
        """Send the messages of a file; return how many it has."""
        name, urls = queue_of(path), self._stack.queues.as_dict()
        if name not in urls:
            raise DevstackError(f"{path} must have the name of a queue: {', '.join(urls)}.")
        sent = 0
        for part in batched(read_messages(path), _READ_AT_ONCE):
            routed = [each for message in part for each in routes(name, message, keys)]
            for target in dict.fromkeys(target for target, _ in routed):
                own = [message for each, message in routed if each == target]
                await send_all(sqs, urls[target], own)
            sent += len(part)
        return sent

    async def _keys(self) -> QueueKeys:
        installation = self._stack.installation
        client = mongo.connect(installation.mongodb_url, app_name="ocelot-devstack")
        async with client:
            store = RegistryStore(client[installation.mongodb_database])
            rows = {row.kid: row for row in await store.since(QueueKeyRow, 0)}
        return QueueKeys(KeyFile(installation.queue_keys_file), rows.get)


def routes(name: str, message: Outgoing, keys: QueueKeys) -> Iterator[tuple[str, Outgoing]]:
    """Yield what to send for a saved message, and the name of the queue to send it to.

    Args:
        name: of the queue that held it, an attribute of QueueUrls.
        message: as it was sent to that queue.
        keys: verify it and sign it anew.

    Raises:
        NoSigningKeyError: it verifies, and no key may sign it.
    """
    purpose = _PURPOSES.get(name)
    if purpose is None:
        yield name, message
        return
    try:
        signed = keys.open(message.body, purpose)
    except FAULTS as fault:
        why = Moved.NEWER if isinstance(fault, NewerVersionError) else Moved.FORGED
        yield f"{name}_dlq", moved_message(message.body, why)
        return
    try:
        again = list(resigned(signed, purpose, keys.signing_key(), authenticated=True))
    except NotResignableError:
        again = [message]  # the worker makes a dead letter of it
    for each in again:
        yield name, each


def _label(name: str) -> str:
    return f"{name.removesuffix('_dlq')} {'dead letter ' if name.endswith('_dlq') else ''}queue"


def _counted(number: int) -> str:
    return f"{number:,} message{'' if number == 1 else 's'}"
