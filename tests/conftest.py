"""What holds for all tests."""

import os

from hypothesis import HealthCheck, settings

# A slow or busy machine is no failure: pytest's own timeout bounds each test. And what was green once is not red the
# next time: each run tries the same examples. HYPOTHESIS_PROFILE=long tries many others.
settings.register_profile(
    "any-machine", deadline=None, suppress_health_check=[HealthCheck.too_slow], derandomize=True, max_examples=100
)
settings.register_profile(
    "long", settings.get_profile("any-machine"), derandomize=False, print_blob=True, max_examples=3000
)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "any-machine"))
