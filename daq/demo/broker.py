"""The broker of a demo on a machine without mosquitto: amqtt, in a process of its own."""

from __future__ import annotations

import asyncio
import sys

from daq.host.signals import stop_signals


async def serve(port: int) -> None:
    """Serve MQTT 3.1.1 on 127.0.0.1 until SIGTERM; anybody may connect."""
    from amqtt.broker import Broker

    broker = Broker(
        {
            "listeners": {"default": {"type": "tcp", "bind": f"127.0.0.1:{port}"}},
            "plugins": {"amqtt.plugins.authentication.AnonymousAuthPlugin": {"allow_anonymous": True}},
        }
    )
    await broker.start()
    async with stop_signals() as stop:
        await stop.wait()
    await broker.shutdown()


if __name__ == "__main__":
    asyncio.run(serve(int(sys.argv[1])))
