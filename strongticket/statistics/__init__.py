"""Statistics worth trusting: exact tests of how often something fails, alone, in pairs, many at once, or while looking.

Everything here is exact for finitely many trials; nothing is an approximation for large numbers but Student's interval.

- One number of trials, fixed beforehand: `p_value`, `interval`.
- Stop when it is sure: `SequentialTest`; `anytime_interval` may be looked at after every trial.
- Two things with the same seeds: `gain`, `sign_flip`; two classifiers on the same examples: `mcnemar`.
- Many claims: `holm` for verdicts, `benjamini_hochberg` and `benjamini_yekutieli` for screening.

>>> from strongticket import statistics
>>> statistics.p_value(trials=100, failures=6, delta=0.01)
0.000534...
>>> statistics.holm([0.000534, 0.4])
(0.001068, 0.4)
"""

from strongticket.statistics.anytime import anytime_interval, log_against, log_in_favour
from strongticket.statistics.binomial import interval, p_value
from strongticket.statistics.multiple import benjamini_hochberg, benjamini_yekutieli, holm
from strongticket.statistics.paired import CONFIDENCE, MOST_PAIRS, Gain, McNemar, gain, mcnemar, sign_flip
from strongticket.statistics.sequential import Characteristics, Decision, Evidence, SequentialTest

__all__ = [
    "CONFIDENCE",
    "MOST_PAIRS",
    "Characteristics",
    "Decision",
    "Evidence",
    "Gain",
    "McNemar",
    "SequentialTest",
    "anytime_interval",
    "benjamini_hochberg",
    "benjamini_yekutieli",
    "gain",
    "holm",
    "interval",
    "log_against",
    "log_in_favour",
    "mcnemar",
    "p_value",
    "sign_flip",
]
