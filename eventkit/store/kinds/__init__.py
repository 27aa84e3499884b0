"""The kinds of stores: what a store holds, and all that is other for each."""

from eventkit.store.kinds.base import Split
from eventkit.store.kinds.dense import DenseSplit
from eventkit.store.kinds.events import EventsSplit

KINDS: dict[str, type[Split]] = {"frames": DenseSplit, "data": DenseSplit, "events": EventsSplit}
