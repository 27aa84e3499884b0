"""Runs in the peers' environment: SpikingJelly cuts and integrates recordings, and says how long.

python peer_spikingjelly_convert.py RECORDINGS WORK
"""

import json
import sys
import time
import types
from pathlib import Path


class Nothing(types.ModuleType):
    """Stands in for torchaudio, which spikingjelly.datasets imports and no event dataset uses."""

    def __getattr__(self, name: str) -> "Nothing":
        if name.startswith("__"):
            raise AttributeError(name)
        child = Nothing(f"{self.__name__}.{name}")
        sys.modules[child.__name__] = child
        setattr(self, name, child)
        return child

    def __call__(self, *args: object, **options: object) -> None:
        return None


for name in ("", ".transforms", ".functional", ".datasets", ".datasets.utils"):
    sys.modules["torchaudio" + name] = Nothing("torchaudio" + name)
sys.modules["torchaudio.datasets.speechcommands"] = Nothing("torchaudio.datasets.speechcommands")

from spikingjelly.datasets.dvs128_gesture import DVS128Gesture  # noqa: E402

recordings, work = Path(sys.argv[1]), Path(sys.argv[2])
extract = work / "extract"
extract.mkdir()
(extract / "DvsGesture").symlink_to(recordings.resolve(), target_is_directory=True)
events = work / "events_np"
events.mkdir()
# A class folder without a sample stops its DatasetFolder: the sets here have all eleven classes.
started = time.perf_counter()
DVS128Gesture.create_raw_from_extracted(extract, events)
cut = time.perf_counter()
for train in (True, False):
    dataset = DVS128Gesture(
        str(work), train=train, data_type="frame", frames_number=16, split_by="number"
    )
print(
    json.dumps(
        {
            "seconds": time.perf_counter() - started,
            "cut": cut - started,
            "samples": len(dataset),
        }
    )
)
