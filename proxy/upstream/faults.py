"""What the faults of a scripted provider look like, in each dialect. Data alone."""

from typing import NamedTuple


class Faults(NamedTuple):
    """What the faults of a dialect look like."""

    garbage: bytes
    error: bytes
    huge_begin: bytes
    huge_end: bytes


FAULTS = {
    "openai.chat": Faults(
        garbage=b'data: {"object":"chat.completion.chunk","choices":[{"index":0,"del\n\n',
        error=b'data: {"error":{"message":"The server had an error.","type":"server_error",'
        b'"param":null,"code":"server_error"}}\n\n',
        huge_begin=b'data: {"id":"chatcmpl-huge","object":"chat.completion.chunk",'
        b'"created":1767225600,"model":"huge","choices":[{"index":0,"delta":{"content":"',
        huge_end=b'"},"finish_reason":null}]}\n\n',
    ),
    "openai.responses": Faults(
        garbage=b'event: response.output_text.delta\ndata: {"type":"response.output_text.delta",'
        b'"sequence_n\n\n',
        error=b'event: error\ndata: {"type":"error","code":"server_error","message":"The server '
        b'had an error.","param":null,"sequence_number":0}\n\n',
        huge_begin=b'event: response.output_text.delta\ndata: {"type":"response.output_text.delta"'
        b',"sequence_number":0,"item_id":"msg_huge","output_index":0,"content_index":0,'
        b'"logprobs":[],"delta":"',
        huge_end=b'"}\n\n',
    ),
    "anthropic.messages": Faults(
        garbage=b'event: content_block_delta\ndata: {"type":"content_block_delta","inde\n\n',
        error=b'event: error\ndata: {"type":"error","error":{"type":"overloaded_error",'
        b'"message":"Overloaded"}}\n\n',
        huge_begin=b'event: content_block_delta\ndata: {"type":"content_block_delta","index":0,'
        b'"delta":{"type":"text_delta","text":"',
        huge_end=b'"}}\n\n',
    ),
}
