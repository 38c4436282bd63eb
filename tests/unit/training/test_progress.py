"""How rates read."""

from samclr.training.progress import views_rate


def test_slow_rates_keep_a_decimal() -> None:
    assert views_rate(0.62, 1.08) == "0.6 to 1.1 views/s"
    assert views_rate(9.4, 1234.5) == "9.4 to 1,234 views/s"
    assert views_rate(88.7) == "89 views/s"
