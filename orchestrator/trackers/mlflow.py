"""MLflow: a run on the tracking server that MLFLOW_TRACKING_URI names.

The server is asked what it has of the run and is sent what comes after that: so nothing is there twice, and a server
that was away gets what it missed.
"""

from __future__ import annotations

import os
import re
import time
from collections.abc import Sequence
from pathlib import Path

import yaml

from orchestrator.contract.config import dotted
from orchestrator.trackers.log_tail import Line
from orchestrator.trackers.run_ids import recall, remember

PATIENCE = {
    "MLFLOW_HTTP_REQUEST_TIMEOUT": "10",
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "1",
    "MLFLOW_HTTP_REQUEST_BACKOFF_FACTOR": "1",
}
"""MLflow's own defaults keep trying for four minutes to reach a server that is not there."""
EXPERIMENT = "segadapt"
"""Where MLFLOW_EXPERIMENT_NAME names no other."""
STATES = {"finished": "FINISHED", "failed": "FAILED", "interrupted": "KILLED"}
METRICS, PARAMETERS, LENGTH = 1000, 100, 6000
"""What the server takes in one request, and in the value of a parameter."""


class Mlflow:
    """The run that its folder remembers, or a new one where the server does not know it.

    Args:
        run: the run folder.
    """

    def __init__(self, run: Path) -> None:
        for name, value in PATIENCE.items():
            os.environ.setdefault(name, value)
        from mlflow import MlflowClient
        from mlflow.entities import Metric

        self._metric = Metric
        # By name: without an address MLflow would write to a database in whatever folder this is.
        self._client = MlflowClient(os.environ["MLFLOW_TRACKING_URI"])
        self._id = recall(run, "mlflow")
        if not (self._id and self._known()):
            self._id = self._create(run)
            remember(run, "mlflow", self._id)
        self._client.update_run(self._id, status="RUNNING")
        self._has = set(self._client.get_run(self._id).data.metrics)
        self._last: dict[str, int] = {}

    def log(self, group: str, lines: Sequence[Line]) -> None:
        """Send what the server does not have yet."""
        now = int(1000 * time.time())
        points = [
            self._metric(key, value, now, step)
            for step, values in lines
            for key, value in ((_key(f"{group}/{name}"), value) for name, value in values.items())
            if step > self._told(key)
        ]
        for start in range(0, len(points), METRICS):
            self._client.log_batch(self._id, metrics=points[start : start + METRICS])
        self._last |= {point.key: point.step for point in points}

    def picture(self, group: str, name: str, file: Path) -> None:
        """Send a picture as an artifact; one of the same name is replaced."""
        with file.open("rb") as content:
            from PIL import Image

            self._client.log_image(self._id, Image.open(content), f"{_key(group)}/{_key(name)}.png")

    def close(self, state: str) -> None:
        """Tell the server how the run ended."""
        self._client.set_terminated(self._id, STATES[state])

    def _told(self, key: str) -> int:
        """The last step of a curve that the server has, -1 where it has none."""
        if key not in self._last:
            history = self._client.get_metric_history(self._id, key) if key in self._has else []
            self._last[key] = max((metric.step for metric in history), default=-1)
        return self._last[key]

    def _known(self) -> bool:
        from mlflow.exceptions import MlflowException

        try:
            return self._client.get_run(self._id).info.lifecycle_stage == "active"
        except MlflowException as error:
            if error.error_code == "RESOURCE_DOES_NOT_EXIST":
                return False
            raise

    def _create(self, run: Path) -> str:
        name = os.environ.get("MLFLOW_EXPERIMENT_NAME", EXPERIMENT)
        found = self._client.get_experiment_by_name(name)
        experiment = found.experiment_id if found else self._client.create_experiment(name)
        created = self._client.create_run(experiment, run_name=run.name, tags={"folder": run.parent.name})
        config = dotted(yaml.safe_load((run / "config.yaml").read_text(encoding="utf-8")))
        from mlflow.entities import Param

        parameters = [Param(_key(key), str(value)[:LENGTH]) for key, value in config.items()]
        for start in range(0, len(parameters), PARAMETERS):
            self._client.log_batch(created.info.run_id, params=parameters[start : start + PARAMETERS])
        return created.info.run_id


def _key(name: str) -> str:
    """A name as MLflow allows it."""
    return re.sub(r"[^\w\-. /]", "_", name)
