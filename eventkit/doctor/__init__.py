"""What is wrong with a recording, and a sound copy of it.

exam.py       one pass over a recording, and what it tells
survey.py     what is counted in that pass
facts.py      from counts to numbers
findings.py   from numbers to sentences
mend.py       the sound copy
foreign.py    events that no camera made
losses.py     what a copy does not have
ahead.py      all kernels compiled ahead of use
"""

from eventkit.doctor.exam import examine
from eventkit.doctor.mend import repair

__all__ = ["examine", "repair"]
