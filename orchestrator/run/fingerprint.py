"""What decides the outcome of a stage: compared before what a stage made, or had begun, is used again."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from domains.base.settings import DomainSettings, PairSettings
from domains.stores.translations import translations_record
from models.pretrained import pretrained_record
from orchestrator.base.files import digest_of
from orchestrator.cluster.elastic import micro_batches
from orchestrator.contract.method import Method
from orchestrator.contract.neutral import deciding
from orchestrator.contract.stages import Evaluate, Panels, Stage, Statistics, Train, Translation
from orchestrator.run.folder import differences


@dataclass(frozen=True)
class Fingerprint:
    """A digest of all that decides a stage, and these things themselves, which tell two fingerprints apart."""

    digest: str
    decided_by: Mapping[str, Any] = field(compare=False, repr=False)
    """As JSON gives them back."""

    @classmethod
    def of(cls, spec: Mapping[str, Any], inputs: Mapping[str, str]) -> Fingerprint:
        """The fingerprint of a stage.

        Args:
            spec: its own settings and what else it depends on.
            inputs: digests of the fingerprints of the stages that it reads, by name.
        """
        told = json.loads(json.dumps({"spec": spec, "inputs": inputs}, default=str))
        return cls(digest_of({"spec": spec, "inputs": list(inputs.values())}), told)

    def differences(self, recorded: Mapping[str, Any]) -> list[str]:
        """What differs from the `decided_by` of another fingerprint, a line each."""
        own = {**self.decided_by["spec"], "inputs": self.decided_by["inputs"]}
        other = {**recorded.get("spec", {}), "inputs": recorded.get("inputs", {})}
        found = differences(other, own)
        return [f"{name}: was {_short(was)}, now {_short(now)}" for name, (was, now) in found.items()]


def fingerprints_of(stages: Sequence[Stage], method: Method) -> dict[str, Fingerprint]:
    """The fingerprint of each stage: of its settings, the data, the seed, the arithmetic, and its inputs."""
    compute, pair = method.compute, method.pair
    pretrained = {"pretrained": record} if (record := pretrained_record(method.model)) else {}
    found: dict[str, Fingerprint] = {}
    for stage in stages:
        spec = {
            "kind": type(stage).__name__,
            **deciding(stage),
            "seed": method.seed,
            "domains": [deciding(domain) for domain in _domains_of(stage, pair)],
            "read as": [method.root, pair.label_space, pair.height, pair.width],
            "arithmetic": [micro_batches(compute), compute.cpus_per_worker, compute.precision],
        }
        if isinstance(stage, Evaluate):
            spec["classes"] = method.protocol.classes
        if isinstance(stage, Panels):
            spec["count"] = method.panels
        if isinstance(stage, Evaluate | Panels):
            spec["views"] = deciding(method.protocol.views)
        if isinstance(stage, Train):
            spec |= pretrained  # the content: what a path names can change
            spec["method"] = "" if stage.common else method.name
            spec |= {"validation": deciding(method.validation)} if method.validation.times else {}
            if record := translations_record(stage.translated):
                spec["translations"] = record
            if stage.fixed:
                spec["fixed weights"] = _fixed_weights(stage, method)
        found[stage.name] = Fingerprint.of(spec, {name: found[name].digest for name in stage.needs})
    return found


def _fixed_weights(stage: Train, method: Method) -> dict[str, str]:
    """Digests of the networks that a stage only reads: what they are built from can change under the same name."""
    from domains.base.labels import label_space
    from models.weights import weights_digest

    built = method.networks(len(label_space(method.pair.label_space)))
    return {name: weights_digest(built[name]) for name in stage.fixed}


def _domains_of(stage: Stage, pair: PairSettings) -> list[DomainSettings]:
    """The domains that a stage reads."""
    if isinstance(stage, Evaluate):
        return [pair.evaluation]
    if isinstance(stage, Train):
        return [pair.source, *([pair.target] if stage.target else [])]
    if isinstance(stage, Statistics):
        return [pair.source]
    if isinstance(stage, Translation) or (isinstance(stage, Panels) and stage.translated):
        return [pair.source, pair.target]
    return [pair.target]


def _short(value: object) -> str:
    """A value as people read it; of a digest its beginning."""
    text = repr(value)
    return text if len(text) <= 60 else f"{text[:56]} ..."
