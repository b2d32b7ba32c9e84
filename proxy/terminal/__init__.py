"""The commands that talk to a server: they follow a stream, watch a proxy, load a provider."""
