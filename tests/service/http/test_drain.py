"""The end of a server under load: whatever a client has sent gets its reply."""

import re

import numpy as np
import pytest

from .closed_loop import ClosedLoop

NUM_CLIENTS = 32


# Connections that are kept end in a worker alike, of one or of several.
@pytest.mark.parametrize(
    ("workers", "keep_alive"), [(1, True), (1, False), (2, False)], ids=["kept", "new", "new-2-workers"]
)
def test_a_stop_under_load_loses_no_request(
    start_server, tiny_bundle, image_file, wait_until, workers, keep_alive
):
    server = start_server(tiny_bundle, workers=workers, drain_timeout_s=20)
    content = image_file(np.zeros((8, 8, 3), dtype=np.uint8))
    with ClosedLoop(
        server.url,
        content=content,
        headers={"Content-Type": "image/png"},
        num_clients=NUM_CLIENTS,
        keep_alive=keep_alive,
    ) as clients:
        wait_until(lambda: len(clients.replies) > 10 * NUM_CLIENTS)
        assert server.stop() == 0, server.log
        # Nobody is there any more, so that each client ends by being refused.
        clients.join()
    assert clients.broken == []
    assert {reply.status for reply in clients.replies} == {200}
    assert clients.num_refused == NUM_CLIENTS
    assert len(re.findall(" POST /encode 200 ", server.log)) == len(clients.replies)
    assert "Traceback" not in server.log


def test_a_kept_connection_has_a_moment_for_its_next_request(start_server, tiny_bundle, image_file):
    server = start_server(tiny_bundle)
    content = image_file(np.zeros((8, 8, 3), dtype=np.uint8))

    def stop_after_the_first(clients: ClosedLoop) -> bool:
        if len(clients.replies) == 1:
            server.process.terminate()
        return len(clients.replies) == 2

    with ClosedLoop(
        server.url,
        content=content,
        headers={"Content-Type": "image/png"},
        num_clients=1,
        is_over=stop_after_the_first,
    ) as clients:
        clients.join()
    assert server.process.wait(timeout=30) == 0
    assert [reply.status for reply in clients.replies] == [200, 200]
    assert clients.replies[1].headers["connection"] == "close"
