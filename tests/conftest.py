"""What holds for all tests."""

from hypothesis import HealthCheck, settings

# A slow or busy machine is no failure: pytest's own timeout bounds each test.
settings.register_profile("any-machine", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("any-machine")
