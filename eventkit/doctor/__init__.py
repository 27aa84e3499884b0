"""Check a recording for damage and noise, and write a cleaned copy.

exam.py       examine(): one pass over a recording, and the report
survey.py     the statistics collected in that pass
facts.py      from statistics to numbers
findings.py   from numbers to findings with advice
mend.py       repair(): the cleaned copy
foreign.py    events that come from corrupted bytes, not from a camera
ahead.py      precompilation of all kernels
"""

from eventkit.doctor.exam import examine
from eventkit.doctor.mend import repair

__all__ = ["examine", "repair"]
