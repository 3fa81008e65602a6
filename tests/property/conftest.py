"""How much the property tests try: by default about a minute in all and the same each time; ``--hypothesis-profile=thorough`` for more."""

from hypothesis import HealthCheck, settings

settings.register_profile(
    "default",
    max_examples=100,
    stateful_step_count=40,
    deadline=None,
    derandomize=True,
    suppress_health_check=[HealthCheck.too_slow],
)
settings.register_profile("thorough", settings.get_profile("default"), max_examples=3000, derandomize=False)
settings.load_profile("default")
