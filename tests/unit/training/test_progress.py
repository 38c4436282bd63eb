"""How rates read."""

from types import SimpleNamespace
from unittest.mock import Mock

import numpy as np

from samclr.training import pretrain
from samclr.training.progress import views_rate
from samclr.views.loader import ViewLoader
from samclr.views.plan import ViewPlan


def test_slow_rates_keep_a_decimal() -> None:
    assert views_rate(0.62, 1.08) == "0.6 to 1.1 views/s"
    assert views_rate(9.4, 1234.5) == "9.4 to 1,234 views/s"
    assert views_rate(88.7) == "89 views/s"


def test_the_speed_is_that_of_all_ranks_together(monkeypatch) -> None:
    monkeypatch.setattr(pretrain, "num_ranks", lambda: 4)
    monkeypatch.setattr(pretrain, "time", SimpleNamespace(perf_counter=lambda: 12.0))
    groups = [SimpleNamespace(boxes_xyxy=np.zeros((8, views, 4))) for views in (2, 6)]
    speed = pretrain._speed(Mock(ViewPlan, groups=groups), Mock(ViewLoader, last_wait_s=0.5), 10.0)
    assert speed == {"views_per_s": 4 * 8 * (2 + 6) / 2, "wait_frac": 0.25}
