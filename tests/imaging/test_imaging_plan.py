"""What a plan takes from a measurement set's metadata."""

from __future__ import annotations

import numpy as np
import pytest

from fringeflow_imaging.plan import baseline_percentile_m


def test_only_baselines_that_were_observed_count() -> None:
    # Two arrays of three antennas, 10 m and 20 m apart, a kilometre from each other and never correlated.
    small = np.array([[0.0, 0, 0], [10, 0, 0], [20, 0, 0]])
    large = np.array([[1000.0, 0, 0], [1020, 0, 0], [1040, 0, 0]])
    pairs = np.array([(0, 1), (0, 2), (1, 2), (3, 4), (3, 5), (4, 5), (0, 0), (5, 5)]).T
    lengths = [10, 20, 10, 20, 40, 20]
    assert baseline_percentile_m(np.concatenate([small, large]), pairs) == pytest.approx(np.percentile(lengths, 95))
