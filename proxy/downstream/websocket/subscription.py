"""One stream on one connection: pulls a cursor, and sends what it gives."""

import asyncio

from proxy.downstream.websocket.channel import Channel
from proxy.downstream.websocket.messages import End, batch_frames, encode
from proxy.relay.cursor import Cursor
from proxy.relay.tail import Batch
from proxy.stream import StreamId

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
    while channel.is_open:
        batch = await cursor.next(_WAIT_S)
        if batch is not None:
            is_last = batch.ending is not None
            frames = _frames(cursor.tail.stream, batch)
            del batch  # a silent stream holds on to nothing
            await channel.send(frames)
            if is_last:
                return
            is_long = len(frames) >= _LONG_BYTES
            del frames
            if is_long:
                await asyncio.sleep(0)
        elif cursor.tail.ending is not None and cursor.is_at_end:
            await channel.say(End(cursor.tail.stream, cursor.tail.ending, cursor.after))
            return
        elif cursor.is_closed or cursor.is_sent_away:
            return


def _frames(stream: StreamId, batch: Batch) -> bytes:
    """A batch, and the end of the stream if that is its end."""
    frames = batch_frames(stream, batch)
    if batch.ending is None:
        return frames
    return frames + encode(End(stream, batch.ending, batch.last_id))
