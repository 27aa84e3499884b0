"""The labels of a window as dsec-det's code has them (commit 81e381d, dataset.py).

Each sample there is the time from one image to the next. Its labels are those of the image at the
start of that time, for sync="front" as for sync="back", whatever the drawing in the docstring says.
"""

from eventkit.targets.rules import LABEL_RULES, LabelRules

LABEL_RULES.register(
    LabelRules("dsec_det", "labels of a window between images: those at its start", at_start=True)
)
