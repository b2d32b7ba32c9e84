"""llama.cpp with a model made on the spot: ``python server.py``, where `gguf` and `xllamacpp` are.

The model has random weights, some 100,000, and a vocabulary of all bytes and a few merges: what it
says is nonsense, but it is said token by token, counted and stopped as by any other model. Prints
its address, and ends when its stdin does. Imports nothing of the project: it runs in an
environment of its own.
"""

import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import gguf  # type: ignore[import-not-found]
import numpy as np  # type: ignore[import-not-found]
import xllamacpp  # type: ignore[import-not-found]

_WIDTH, _LAYERS, _HEADS, _INNER, _CONTEXT = 64, 2, 4, 128, 4096
_MERGES = ["t h", "i n", "e r", "a n", "th e", "Ġ t", "Ġ a"]
_TEMPLATE = (
    "{% for message in messages %}{{ message['role'] }}: {{ message['content'] }}\n{% endfor %}"
    "assistant: "
)


def main() -> None:
    """Serve until stdin ends."""
    with tempfile.TemporaryDirectory(prefix="midstream-inference-") as folder:
        file = Path(folder) / "tiny.gguf"
        write_model(file)
        settings = xllamacpp.CommonParams()
        settings.model.path = str(file)
        settings.model_alias = {"tiny"}
        settings.hostnames = ["127.0.0.1"]
        settings.port = 0
        settings.n_ctx = _CONTEXT
        settings.n_parallel = 2
        settings.n_gpu_layers = 0
        settings.warmup = False
        settings.sampling.temp = 0  # the same answer each time, so that answers can be compared
        settings.endpoint_slots = True
        settings.chat_template = _TEMPLATE
        server = xllamacpp.Server(settings)
        print(server.listening_address, flush=True)
        sys.stdin.read()


def write_model(file: Path) -> None:
    """A model of the architecture ``llama``."""
    writer = gguf.GGUFWriter(file, "llama")
    tokens, types = _vocabulary()
    writer.add_context_length(_CONTEXT)
    writer.add_embedding_length(_WIDTH)
    writer.add_block_count(_LAYERS)
    writer.add_feed_forward_length(_INNER)
    writer.add_head_count(_HEADS)
    writer.add_head_count_kv(_HEADS)
    writer.add_layer_norm_rms_eps(1e-5)
    writer.add_rope_dimension_count(_WIDTH // _HEADS)
    writer.add_vocab_size(len(tokens))
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre("gpt-2")
    writer.add_token_list(tokens)
    writer.add_token_types(types)
    writer.add_token_merges(_MERGES)
    writer.add_bos_token_id(len(tokens) - 2)
    writer.add_eos_token_id(len(tokens) - 1)
    for name, tensor in _tensors(len(tokens)):
        writer.add_tensor(name, tensor.astype(np.float32))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def _vocabulary() -> tuple[list[str], list[int]]:
    """GPT-2's letters for bytes, what the merges make of them, and two that are never said."""
    plain = [*range(33, 127), *range(161, 173), *range(174, 256)]
    others = [byte for byte in range(256) if byte not in plain]
    tokens = [chr(byte) for byte in plain] + [chr(256 + place) for place in range(len(others))]
    tokens += [merge.replace(" ", "") for merge in _MERGES]
    types = [int(gguf.TokenType.NORMAL)] * len(tokens)
    return [*tokens, "<begin>", "<end>"], [*types, *[int(gguf.TokenType.CONTROL)] * 2]


def _tensors(tokens: int) -> Iterator[tuple[str, "np.ndarray"]]:
    chance = np.random.default_rng(1)
    yield "token_embd.weight", chance.normal(0, 1, (tokens, _WIDTH))
    for layer in range(_LAYERS):
        for name in ("attn_q", "attn_k", "attn_v", "attn_output"):
            yield f"blk.{layer}.{name}.weight", chance.normal(0, 0.2, (_WIDTH, _WIDTH))
        for name in ("ffn_gate", "ffn_up"):
            yield f"blk.{layer}.{name}.weight", chance.normal(0, 0.2, (_INNER, _WIDTH))
        yield f"blk.{layer}.ffn_down.weight", chance.normal(0, 0.2, (_WIDTH, _INNER))
        for name in ("attn_norm", "ffn_norm"):
            yield f"blk.{layer}.{name}.weight", np.ones(_WIDTH)
    yield "output_norm.weight", np.ones(_WIDTH)
    output = chance.normal(0, 0.2, (tokens, _WIDTH))
    output[-2:] = 0  # so that it hardly ever stops by itself
    yield "output.weight", output


if __name__ == "__main__":
    main()
