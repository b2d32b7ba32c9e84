"""One stream on one connection: pulls a cursor, and sends what it gives."""

import asyncio

from proxy.downstream.websocket.channel import Channel
from proxy.downstream.websocket.messages import End, batch_frames, encode
from proxy.relay.cursor import Cursor

_WAIT_S = 60.0
"""Between two looks at a stream that is silent. Chosen: it costs nothing, and nothing hangs on it:
signs of life are the connection's."""
_LONG_BYTES = 32 * 1024
"""From here on a batch is a piece of a replay: the next one is ready at once, and whoever else
this process serves comes first."""


async def send_events(cursor: Cursor, channel: Channel) -> None:
    """Send to the end of the stream, of the connection, or of the cursor.

    Raises `StreamGone` when the stream is erased before its end was reached.
    """
    stream = cursor.tail.stream
    while channel.is_open:
        batch = await cursor.next(_WAIT_S)
        if batch is None:
            if cursor.is_at_end:
                assert cursor.tail.ending is not None, "what has an end has an ending"
                await channel.say(End(stream, cursor.tail.ending, cursor.after))
            if cursor.is_at_end or cursor.is_closed or cursor.is_sent_away:
                return
        else:
            frames = batch_frames(stream, batch)
            if batch.ending is not None:
                frames += encode(End(stream, batch.ending, batch.last_id))
            await channel.send(frames)
            if batch.ending is not None:
                return
            if len(frames) >= _LONG_BYTES:
                await asyncio.sleep(0)
