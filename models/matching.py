"""Tensors that a file and a network do not have in common, said in one sentence."""

from __future__ import annotations

_NAMES_SHOWN = 8


def refuse_unmatched(missing: list[str], unexpected: list[str], different: list[str]) -> None:
    """Refuse weights that are not those of a network.

    Raises:
        ValueError: naming what does not match, if anything.
    """
    problems = {"missing": missing, "unexpected": unexpected, "different": different}
    if any(problems.values()):
        found = "; ".join(f"{kind}: {_listing(names)}" for kind, names in problems.items() if names)
        raise ValueError(f"the weights are not those of this network: {found}")


def _listing(names: list[str]) -> str:
    more = len(names) - _NAMES_SHOWN
    return ", ".join(names[:_NAMES_SHOWN]) + (f" and {more} more" if more > 0 else "")
