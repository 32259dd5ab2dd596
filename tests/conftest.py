"""One profile for every generated program: the same examples in every run, and no time limit."""

from hypothesis import HealthCheck, settings

settings.register_profile(
    "exact",
    derandomize=True,
    deadline=None,
    database=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
)
settings.load_profile("exact")
