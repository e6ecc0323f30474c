"""Ranking of backbones: score table, ranking, comparison of two backbones, stability.

`bob_gauntlet.ranking(...)` is also a function: it calls `bob_gauntlet.api.ranking`, see there.
"""

import sys

from bob_gauntlet import CallablePackage

sys.modules[__name__].__class__ = CallablePackage
