"""The files in which workers keep their metrics."""

from prometheus_client.exposition import generate_latest

from kohonen_tokenizer.service.http.shared_metrics import SharedFiles


def test_a_file_that_a_worker_is_just_making_does_not_spoil_the_sums(tmp_path):
    (tmp_path / "gauge_livesum_0.db").touch()
    assert generate_latest(SharedFiles(str(tmp_path), worker=1).sums()) == b""
