"""A subscriber of FastStream that reads nothing itself: our consumer gives it each message, within its transaction."""

from __future__ import annotations

import asyncio
import inspect
import json
import logging
from collections.abc import Mapping
from concurrent.futures import Future
from typing import TYPE_CHECKING, Any, cast, get_type_hints

from bson import ObjectId
from faststream._internal.endpoint.subscriber.call_item import CallsCollection
from faststream.exceptions import AckMessage, NackMessage, RejectMessage, StopConsume
from faststream.message.message import AckStatus
from faststream.middlewares import AckPolicy
from faststream.redis import RedisStreamMessage, StreamSub
from faststream.redis.configs import RedisBrokerConfig
from faststream.redis.message import DefaultStreamMessage
from faststream.redis.parser import BinaryMessageFormatV1
from faststream.redis.subscriber.config import RedisSubscriberConfig, RedisSubscriberSpecificationConfig
from faststream.redis.subscriber.specification import StreamSubscriberSpecification
from faststream.redis.subscriber.usecases import LogicSubscriber, StreamSubscriber
from faststream.response import Response, ensure_response
from pydantic_core import to_json
from pymongo.asynchronous.client_session import AsyncClientSession

from outbox.errors import UsageError
from outbox.faststream.context import MESSAGE, SESSION, Session
from outbox.faststream.encoding import DATA
from outbox.servers.connections import connect_mongo
from outbox.worker.completion import TRANSACTION
from outbox.worker.consumer import Consumer
from outbox.worker.failures import Failed, GiveUp, RetryAfter, headline, only_one
from outbox.worker.forms import held_open, in_transaction, refuse_unrun, still_open
from outbox.worker.message import Message

if TYPE_CHECKING:
    from outbox.faststream.worker import OutboxWorker, Registrator

_RAW, _PARSED = "outbox_raw", "outbox_parsed"


class OutboxSubscriber(StreamSubscriber):
    """FastStream's in all that a handler sees; a `Consumer` in how entries are read, kept, taken over and completed."""

    def __init__(
        self,
        worker: OutboxWorker,
        broker: Registrator,
        stream: str,
        options: Mapping[str, Any],
        *,
        title: str | None = None,
        description: str | None = None,
    ) -> None:
        outer, calls, sub = cast(RedisBrokerConfig, broker.config), CallsCollection[Any](), StreamSub(stream)
        specification = RedisSubscriberSpecificationConfig(title_=title, description_=description)
        super().__init__(
            RedisSubscriberConfig(_outer_config=outer, stream_sub=sub, _ack_policy=AckPolicy.MANUAL, no_reply=True),
            StreamSubscriberSpecification(outer, specification, calls, stream_sub=sub),
            calls,
        )
        self._worker = worker
        self._options = options
        self._consumer: Consumer | None = None
        self._consuming: asyncio.Task[None] | None = None

    async def start(self) -> None:
        """Begin to consume. Raises UsageError for a handler that could not use its session."""
        for call in self.calls:
            _refuse_what_is_not_async(call.handler._declared_call)
        await super(LogicSubscriber, self).start()  # without what reads the stream
        self._post_start()
        self._consumer = Consumer(self._worker.settings, self.handle, streams=[self.stream_sub.name], **self._options)
        self._consuming = asyncio.create_task(self._consumer.run(), name=f"outbox {self.stream_sub.name}")
        self._consuming.add_done_callback(self._ended)

    async def stop(self) -> None:
        """Take nothing new, and finish what is in hand or give it back. Raises what has ended the consumer."""
        consuming, self._consuming = self._consuming, None
        if self._consumer and consuming:
            self._consumer.stop()
            await asyncio.wait([consuming])
        await super().stop()
        if consuming:
            await consuming

    def _ended(self, consuming: asyncio.Task[None]) -> None:
        """Only an operator can help: as FastStream does with what is final, end the application."""
        error = None if consuming.cancelled() else consuming.exception()
        if isinstance(error, Exception):
            self._log(logging.CRITICAL, f"outbox consumer ended: {error}", exc_info=error)
            if app := self._outer_config.context.get("app"):
                app.exit()

    async def handle(self, message: Message, session: AsyncClientSession) -> None:
        """What our consumer calls: FastStream's whole way with a message, from its middlewares to the handler.

        AckMessage completes it, RejectMessage makes it dead, NackMessage and SkipMessage are failures as any other;
        `message.reject()` and `message.nack()` are the same.
        """
        await self._with_outcome(message, session, await self._raw(message))

    async def process_message(self, msg: Any) -> Response:
        """As FastStream's. Under TestRedisBroker, the session's transaction is committed when the handler returns, and
        the outcomes are those of `handle`.
        """
        if self._outer_config.context.get(_RAW) is msg:  # and not one that the handler in hand has published itself
            return await super().process_message(msg)
        made = Message(ObjectId(), self.stream_sub.name, "", {}, {}, 1)
        async with connect_mongo(self._worker.settings) as client:  # which connects when the session is used
            async with client.start_session() as session, await session.start_transaction(**TRANSACTION):
                with held_open(session):
                    response = await self._with_outcome(made, session, msg)
                still_open(session)
                return response

    async def _with_outcome(self, message: Message, session: AsyncClientSession, raw: Any) -> Response:
        """What FastStream has for the end of a message, as what our consumer understands."""
        parsed: list[RedisStreamMessage] = []
        try:
            with self._outer_config.context.scopes(
                ((SESSION, session), (MESSAGE, message), (_RAW, raw), (_PARSED, parsed))
            ):
                response = await self.process_message(raw)
        except SystemExit:
            if self._consumer:
                self._consumer.stop()
            if app := self._outer_config.context.get("app"):
                app.exit()
            raise
        except Exception as error:
            one = only_one(error)
            if isinstance(one, StopConsume) and self._consumer:
                self._consumer.stop()
            if isinstance(one, RejectMessage):
                raise GiveUp("rejected by its handler") from error
            if not isinstance(one, AckMessage):
                again = isinstance(one, RetryAfter) or in_transaction(error)  # a conflict, of which it is called again
                if _committed(parsed) is AckStatus.REJECTED and not again:
                    raise GiveUp(f"rejected by its handler: {headline(error)}") from error
                raise
            response = ensure_response(None)
        match _committed(parsed):
            case AckStatus.NACKED:
                raise NackMessage
            case AckStatus.REJECTED:
                raise GiveUp("rejected by its handler")
        _refuse_unrun(response.body)
        return response

    async def _raw(self, message: Message) -> DefaultStreamMessage:
        """The message as FastStream would have read it, in the format of its broker."""
        form = self.config.message_format
        body, headers = to_json(dict(message.fields)), {"content-type": "application/json"}
        if DATA in message.fields:
            body, headers = form.parse(message.fields[DATA].encode())
        headers = {"correlation_id": str(message.id), **headers, **message.headers, "message_id": str(message.id)}
        if form is BinaryMessageFormatV1:
            # In JSON, which it reads as well: what it writes counts the letters of a header, and reads so many bytes,
            # at most 65,535. The body is of texts, and so is UTF-8.
            data = json.dumps({"data": body.decode(), "headers": headers}).encode()
        else:
            data = await form.encode(
                message=body, reply_to=None, headers=headers, correlation_id=headers["correlation_id"]
            )
        return DefaultStreamMessage(type="stream", channel=message.stream, message_ids=[], data={DATA.encode(): data})

    def _get_parser_and_decoder(self, *given: Any) -> tuple[Any, Any]:
        """FastStream's choice. What is parsed is kept, whoever parses it: the handler tells it its outcome."""
        parser, decoder = super()._get_parser_and_decoder(*given)

        async def parse(raw: Any) -> Any:
            parsed = await parser(raw)
            self._outer_config.context.get(_PARSED, []).append(parsed)
            return parsed

        return parse, decoder


def _committed(parsed: list[RedisStreamMessage]) -> AckStatus | None:
    """The outcome that the handler has given by hand, whatever it raised after that."""
    return parsed[-1].committed if parsed else None


def _refuse_unrun(returned: object) -> None:
    """Raise TypeError when the handler has returned what would only run if somebody used it: its work is not done."""
    if inspect.isawaitable(returned) or isinstance(returned, Future):
        if inspect.iscoroutine(returned):
            returned.close()
        raise TypeError(
            f"the handler returned a {type(returned).__name__} that nobody waits for, so that its work is not done: "
            "await it, in an async def; and so in what a decorator puts around a handler"
        )
    try:
        refuse_unrun(returned)
    except Failed as failed:
        raise failed.error from None


def _refuse_what_is_not_async(function: Any) -> None:
    called = function if inspect.isroutine(function) else type(function).__call__  # of an object that can be called
    if inspect.iscoroutinefunction(called):
        return
    try:
        asked = get_type_hints(called, include_extras=True).values()
    except NameError:  # a type that is known only where the handler was written, which is none of ours
        return
    if Session in asked:
        raise UsageError(
            f"{function!r:.80} asks for a Session and is not async, so that it cannot use it: write async def"
        )
