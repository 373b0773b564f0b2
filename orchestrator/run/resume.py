"""Go on with the run that a folder holds."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

from orchestrator.cluster.resources import recall
from orchestrator.contract.config import config_of
from orchestrator.contract.method import Method
from orchestrator.contract.neutral import neutral_values
from orchestrator.run.folder import RunFolder


def taken_up(home: RunFolder, settings: Method, allowed: Sequence[str] = ()) -> Method:
    """The settings with which a run goes on: what the machine decided when it began is as it was then.

    Needs no Ray, so that whatever the folder itself can refuse is refused before that starts.

    Args:
        home: the run folder; may be empty.
        settings: as the user gave them.
        allowed: settings, or groups of them, that may differ from the folder's (`RunFolder.adopt_config`).

    Raises:
        UserError: the folder holds a run with other settings, or is damaged.
    """
    recorded = home.recorded_config()
    if not recorded:
        return settings
    settings = dataclasses.replace(settings, compute=recall(settings.compute, recorded.get("compute", {})))
    home.adopt_config(config_of(settings), allowed, neutral_values(type(settings)))
    return settings
