"""Leaked placement groups: resources that a dead process still holds.

Ray frees a placement group that was made in an actor only when that actor and the whole job are gone. What Ray Train
has against it asks the dashboard, which a private cluster does not have. So a training group whose controller was
killed would hold its cores for as long as the search or the run goes on that it was a part of.
"""

from __future__ import annotations


def remove_leaked_placement_groups() -> None:
    """Remove the placement groups of this job that were made by actors which are dead."""
    import ray
    from ray._private.state import state  # the public table leaves out who made a group
    from ray.core.generated.gcs_pb2 import PlacementGroupTableData  # pyright: ignore[reportAttributeAccessIssue]
    from ray.util import remove_placement_group
    from ray.util.placement_group import PlacementGroup

    if not ray.is_initialized():  # asking would start one
        return
    job = ray.get_runtime_context().get_job_id()
    for record in state._connect_and_get_accessor().get_placement_group_table():
        group = PlacementGroupTableData.FromString(record)
        orphaned = group.creator_actor_dead and group.creator_actor_id != ray.ActorID.nil().binary()
        removed = group.state == PlacementGroupTableData.PlacementGroupState.REMOVED
        if orphaned and not removed and group.creator_job_id.hex() == job:
            remove_placement_group(PlacementGroup(ray.PlacementGroupID(group.placement_group_id)))
