"""Questions about states F and contrasts Z, a room a kind: arrays in, frozen results out."""

from . import agreement, claim, designs, features, fits, pairs, regression, results, worlds
from .agreement import *  # noqa: F403  (what a room's door names is public here too)
from .claim import *  # noqa: F403
from .designs import *  # noqa: F403
from .features import *  # noqa: F403
from .fits import *  # noqa: F403
from .pairs import *  # noqa: F403
from .regression import *  # noqa: F403
from .results import *  # noqa: F403
from .worlds import *  # noqa: F403

__all__: list[str] = []
__all__ += agreement.__all__
__all__ += claim.__all__
__all__ += designs.__all__
__all__ += features.__all__
__all__ += fits.__all__
__all__ += pairs.__all__
__all__ += regression.__all__
__all__ += results.__all__
__all__ += worlds.__all__
