"""Settings that all tests share."""

from __future__ import annotations

import os

from hypothesis import settings

# The same examples at each run: a submission fails for what it changed. New examples are looked for on purpose, with
# HYPOTHESIS_PROFILE=search.
settings.register_profile("same", derandomize=True, deadline=None)
settings.register_profile("search", max_examples=5_000, deadline=None)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "same"))
