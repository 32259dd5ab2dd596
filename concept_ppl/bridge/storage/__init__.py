"""States on the disk: whole or absent, shard by shard, read without a copy."""

from .states import States, load_states

__all__ = ["States", "load_states"]
