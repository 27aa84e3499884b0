"""Edit recordings: cut, join, split and translate them, with all their streams.

copying.py    copy(): a recording, or several as one, in another file
joining.py    how several recordings become one
splitting.py  split(): one recording in several files
png.py        write_frames(): frames as PNG files
streams.py    which streams a format can hold, and how much of each was copied
"""

from eventkit.editing.copying import copy
from eventkit.editing.splitting import Rule, split

__all__ = ["Rule", "copy", "split"]
