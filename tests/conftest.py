"""What holds for all tests: how long one may take is no finding of hypothesis's."""

from __future__ import annotations

from hypothesis import HealthCheck, settings

# A busy machine draws examples slowly; pytest's own timeout bounds a test that hangs.
settings.register_profile("tuner", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("tuner")
