"""MQTT as the road needs it: stay connected to one host of a list, publish, subscribe, listen.

The only importer of aiomqtt.

    BrokerError
    ├── BrokerLost            the connection could not be made, or broke
    │   └── BrokerUnreachable there was no network connection: it is not known which MQTT version the broker supports
    └── BrokerRefused         the broker refused the user, a publish or a subscription

No message is kept between connections: each is a new client with a clean start, because a paho client would resend by
itself what was unsent when the last connection broke. Records are sent again from the spool.
"""

from __future__ import annotations

import asyncio
import logging
import random
import ssl
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

import aiomqtt
from aiomqtt.exceptions import MqttConnectError

from daq.config import ConfigError
from daq.host.threads import in_thread

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable

    from daq.config import Broker

log = logging.getLogger(__name__)

CONNECT_WITHIN = 5.0
FIRST_PAUSE = 0.2
LONGEST_PAUSE = 5.0
QUEUED_IN = 2_000
"""Messages that wait for the reader at most; more are discarded by aiomqtt, and their stations send them again."""
IN_FLIGHT = 100


class BrokerError(Exception):
    """The broker does not do what was asked; the message is for an operator."""


class BrokerLost(BrokerError):
    """There is no connection, or it broke."""


class BrokerUnreachable(BrokerLost):
    """No network connection could be made; it is not known which MQTT version the broker supports."""


class BrokerRefused(BrokerError):
    """The broker answers, and refuses."""


@dataclass(frozen=True, slots=True)
class Message:
    """One message, sent or received."""

    topic: str
    payload: bytes
    qos: int = 1
    retain: bool = False


class Connection:
    """One connection to one broker; raises BrokerLost or BrokerRefused in its users when it ends."""

    def __init__(self, client: aiomqtt.Client, place: str) -> None:
        self.place = place
        self.shares = True
        self.refused: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._client = client
        self._paho: Any = client._client  # noqa: SLF001  # aiomqtt hides what PUBACK and CONNACK say, and we need both
        self._paho.max_inflight_messages_set(IN_FLIGHT)
        self._listen_to_pubacks()
        self._write_to_open_sockets()

    def _listen_to_pubacks(self) -> None:
        original = self._paho.on_publish

        def on_publish(client: Any, userdata: Any, mid: int, reason: Any, properties: Any) -> None:  # noqa: ANN401  # paho's types
            if reason.is_failure and not self.refused.done():
                self.refused.set_exception(BrokerRefused(f"{self.place} refuses to take a message: {reason}"))
            if mid in self._client._pending_publishes:  # noqa: SLF001
                original(client, userdata, mid, reason, properties)

        self._paho.on_publish = on_publish

    def _write_to_open_sockets(self) -> None:
        """Ask for writing only while the socket is the one in use.

        aiomqtt notes the number of a socket and asks later: by then it may be closed, and its number another socket's.
        """
        loop = asyncio.get_running_loop()

        def register(client: Any, _: Any, sock: Any) -> None:  # noqa: ANN401  # paho's types
            def if_open() -> None:
                if client.socket() is sock and sock.fileno() >= 0:
                    loop.add_writer(sock.fileno(), write)

            def write() -> None:
                try:
                    client.loop_write()
                except Exception as error:  # noqa: BLE001  # whatever breaks writing ends the connection
                    if not self.lost.done():
                        self.lost.set_exception(error)

            loop.call_soon_threadsafe(if_open)

        self._paho.on_socket_register_write = register

    async def publish(self, topic: str, payload: bytes, qos: int = 1, *, retain: bool = False) -> None:
        """Queue a message for sending; returning does not mean that anybody received it.

        The broker's PUBACK is not awaited: it only says that the broker has the message in memory; the bridge's
        acknowledgement says that it is stored. A PUBACK that refuses ends the connection.
        """
        if self.refused.done():
            await self.refused
        info = self._paho.publish(topic, payload, qos, retain)
        if info.rc != 0:
            raise BrokerLost(f"{self.place}: connection lost")

    async def subscribe(self, pattern: str, qos: int = 1) -> None:
        """Subscribe; BrokerRefused where the broker does not grant it."""
        try:
            granted: Any = await self._client.subscribe(pattern, qos=qos)
        except aiomqtt.MqttError as error:
            raise BrokerLost(f"{self.place}: {error}") from error
        for code in granted:
            if (code if isinstance(code, int) else code.value) >= 0x80:
                raise BrokerRefused(f"{self.place} refuses the subscription {pattern}")

    async def messages(self) -> AsyncIterator[Message]:
        """Give what arrives, until the connection ends."""
        try:
            async for message in self._client.messages:
                payload = message.payload if isinstance(message.payload, bytes) else b""
                yield Message(str(message.topic), payload, message.qos, message.retain)
        except aiomqtt.MqttError as error:
            raise BrokerLost(f"{self.place}: {error}") from error

    @property
    def lost(self) -> asyncio.Future[None]:
        """Done when the connection is lost."""
        return self._client._disconnected  # noqa: SLF001  # else a waiting user would notice only at its next call


@asynccontextmanager
async def connect(
    broker: Broker, client_id: str, host: tuple[str, int], *, version: int = 5, will: Message | None = None
) -> AsyncIterator[Connection]:
    """Connect once to one host; BrokerLost or BrokerRefused where that fails."""
    name, port = host
    place = f"broker {name}:{port}"
    client = await _client(broker, client_id, host, version, will)
    connection = Connection(client, place)
    _note_shares(connection)
    try:
        await client.__aenter__()
    except MqttConnectError as error:
        who = f"user {broker.user!r}" if broker.user else "a client without a user"
        raise BrokerRefused(f"{place} refuses {who}: {_reason(error)}") from error
    except (aiomqtt.MqttError, OSError, ValueError) as error:
        silent = broker.tls is not None and "timed out" in str(error)
        # A broker that refuses a certificate only closes the connection.
        hint = "; does it want another client certificate?" if silent else ""
        # aiomqtt raises an OSError as an error of its own; the OSError is still its context.
        unreachable = isinstance(error, OSError) or isinstance(error.__context__, OSError)
        raise (BrokerUnreachable if unreachable else BrokerLost)(f"{place}: {error}{hint}") from error
    try:
        yield connection
    finally:
        with suppress(aiomqtt.MqttError):
            await client.__aexit__(None, None, None)
        for outcome in (connection.refused, connection.lost):
            if outcome.done():
                outcome.exception()  # asyncio logs an exception that was never retrieved


async def _client(
    broker: Broker, client_id: str, host: tuple[str, int], version: int, will: Message | None
) -> aiomqtt.Client:
    """Make a client that is not connected yet; BrokerRefused where a file that it needs cannot be read now.

    A file may lie on a disk that hangs: it is read in a thread that no end waits for.
    """
    try:
        password = await in_thread(broker.password) if broker.user else None
        tls = await in_thread(partial(_tls, broker)) if broker.tls else None
        client = aiomqtt.Client(
            *host,
            username=broker.user,
            password=password,
            identifier=client_id,
            protocol=aiomqtt.ProtocolVersion.V5 if version == 5 else aiomqtt.ProtocolVersion.V311,
            clean_session=None if version == 5 else True,
            clean_start=True
            if version == 5
            else 3,  # 3: paho's "does not apply", the only value it takes before MQTT 5
            keepalive=round(broker.keep_alive),
            will=aiomqtt.Will(will.topic, will.payload, will.qos, will.retain) if will else None,
            tls_context=tls,
            timeout=CONNECT_WITHIN,
            max_queued_incoming_messages=QUEUED_IN,
        )
    except ConfigError as error:  # it could be read at the start
        raise BrokerRefused(f"broker {host[0]}:{host[1]} is not asked: {error}") from error
    except OSError as error:  # no descriptor is free
        raise BrokerUnreachable(f"broker {host[0]}:{host[1]}: {error}") from error
    client.pending_calls_threshold = 1_000
    return client


def _note_shares(connection: Connection) -> None:
    original = connection._paho.on_connect  # noqa: SLF001

    def on_connect(client: Any, userdata: Any, flags: Any, reason: Any, properties: Any = None) -> None:  # noqa: ANN401
        connection.shares = getattr(properties, "SharedSubscriptionAvailable", 1) != 0
        original(client, userdata, flags, reason, properties)

    connection._paho.on_connect = on_connect  # noqa: SLF001


def _reason(error: MqttConnectError) -> str:
    return str(error.rc) if not isinstance(error.rc, int) else str(error)


def _tls(broker: Broker) -> ssl.SSLContext | None:
    if broker.tls is None:
        return None
    try:
        context = ssl.create_default_context(cafile=broker.tls.ca)
        if broker.tls.certificate:
            context.load_cert_chain(broker.tls.certificate, broker.tls.key)
    except (OSError, ssl.SSLError) as error:
        raise BrokerRefused(f"the TLS files of [broker.tls] cannot be used: {error}") from error
    return context


async def stay_connected(
    broker: Broker,
    client_id: str,
    serve: Callable[[Connection], Awaitable[None]],
    *,
    will: Message | None = None,
) -> None:
    """Connect, let `serve` work until the connection ends, and repeat with the next host; never returns.

    MQTT 5 is tried first where the config leaves the choice; a broker that does not support it gets 3.1.1.
    The same error is logged once, not at each attempt.
    """
    versions = {"auto": (5, 4), "5": (5,), "3.1.1": (4,)}[broker.protocol]
    host = version = 0
    pause, logged = FIRST_PAUSE, ""
    while True:
        address = broker.addresses[host % len(broker.addresses)]
        try:
            async with connect(broker, client_id, address, version=versions[version], will=will) as connection:
                log.info("connected to %s (MQTT %s)", connection.place, "5" if versions[version] == 5 else "3.1.1")
                versions, version, logged = (versions[version],), 0, ""  # what it supports now it supports later
                started = asyncio.get_running_loop().time()
                try:
                    await _serve_until_lost(connection, serve)
                finally:
                    if asyncio.get_running_loop().time() - started > LONGEST_PAUSE:
                        pause = FIRST_PAUSE
        except BrokerError as error:
            if str(error) != logged:
                logged = str(error)
                log.warning("%s; trying again", logged)
            if not isinstance(error, BrokerUnreachable):
                version = (version + 1) % len(versions)
        host += 1
        await asyncio.sleep(pause * random.uniform(0.5, 1.0))  # noqa: S311  # spreads the stations in time, no secret
        pause = min(pause * 2, LONGEST_PAUSE)


async def _serve_until_lost(connection: Connection, serve: Callable[[Connection], Awaitable[None]]) -> None:
    work = asyncio.ensure_future(serve(connection))
    try:
        await asyncio.wait({work, connection.lost, connection.refused}, return_when=asyncio.FIRST_COMPLETED)
    finally:
        if not work.done():
            work.cancel()
        await asyncio.wait({work})
    if connection.refused.done():
        await connection.refused
    if not work.cancelled() and (error := work.exception()) is not None:
        raise _unwrapped(error)
    raise BrokerLost(f"{connection.place}: connection lost")


def _unwrapped(error: BaseException) -> BaseException:
    """Take a BrokerError out of the group in which a TaskGroup raises it; anything else stays what it is."""
    while isinstance(error, BaseExceptionGroup) and all(isinstance(one, BrokerError) for one in error.exceptions):
        error = error.exceptions[0]
    return error
