"""The check that all nodes see the run folder, with the nodes' answers replaced."""

from __future__ import annotations

import pytest
import ray

from orchestrator.base.errors import UserError
from orchestrator.cluster import shared_storage
from orchestrator.cluster.shared_storage import require_shared, sees


@pytest.fixture
def cluster(monkeypatch):
    """Say for each node, by address, whether it lives, and what it answers (None: nothing)."""

    def say(**answers: tuple[bool, bool | None]) -> list:
        asked = []

        def ask(ids, sign):
            asked.append((ids, sign.exists()))
            return {id: answers[id][1] for id in ids if answers[id][1] is not None}

        listed = [{"NodeID": id, "NodeManagerAddress": f"at {id}", "Alive": a} for id, (a, _) in answers.items()]
        monkeypatch.setattr(ray, "nodes", lambda: listed)
        monkeypatch.setattr(shared_storage, "_ask", ask)
        return asked

    return say


def test_folder_that_a_node_does_not_see_is_refused_and_the_node_named(cluster, tmp_path):
    cluster(head=(True, True), one=(True, False), two=(True, True))
    with pytest.raises(UserError, match="at one of the cluster") as caught:
        require_shared(tmp_path)
    assert str(tmp_path) in str(caught.value)
    assert "--runs" in str(caught.value)
    assert list(tmp_path.iterdir()) == []


def test_folder_that_all_see_is_accepted_and_left_clean(cluster, tmp_path):
    asked = cluster(head=(True, True), one=(True, True))
    require_shared(tmp_path)
    assert asked == [(["head", "one"], True)]
    assert list(tmp_path.iterdir()) == []


def test_folder_that_cannot_be_written_is_told(cluster, tmp_path):
    cluster(head=(True, True), one=(True, True))
    (tmp_path / "file").touch()
    with pytest.raises(UserError, match="cannot be written"):
        require_shared(tmp_path / "file" / "runs")


def test_nodes_that_are_gone_or_do_not_answer_do_not_count(cluster, tmp_path):
    cluster(head=(True, True), gone=(False, False), lost=(True, None))
    require_shared(tmp_path)


def test_one_machine_is_not_asked(cluster, tmp_path):
    asked = cluster(head=(True, False), gone=(False, False))
    require_shared(tmp_path)
    assert asked == []


def test_a_file_is_seen_where_it_is(tmp_path):
    (tmp_path / "sign").touch()
    assert sees(str(tmp_path / "sign"))
    assert not sees(str(tmp_path / "other"))
    assert not sees(str(tmp_path / "none" / "sign"))
