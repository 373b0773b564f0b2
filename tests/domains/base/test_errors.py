"""The hint at a name that the user may have meant."""

from __future__ import annotations

from domains.base.errors import nearest


def test_nearest_looks_in_the_last_folder_that_exists(tmp_path):
    (tmp_path / "CamVid").mkdir()
    assert nearest(tmp_path / "camvid" / "train") == f"; did you mean {tmp_path / 'CamVid'}?"
    assert nearest(tmp_path / "zzz" / "train") == ""
