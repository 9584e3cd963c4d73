"""Two replicas under Ray on this machine, until stdin ends: a process for test_ray_deployment.py.

Takes the folder for Ray's files, whose sockets need a short path, the port, and the name of the application.
"""

import sys

import ray
from ray import serve

from kohonen_tokenizer.service.ray_deployment import app

folder, port, name = sys.argv[1:]
ray.init(
    num_cpus=2,
    object_store_memory=100 * 2**20,
    include_dashboard=False,
    log_to_driver=True,
    _temp_dir=folder,
)
serve.start(http_options={"port": int(port)})
serve.run(app({"min_replicas": 2, "max_replicas": 2}), name=name)
print("two replicas are up", flush=True)
sys.stdin.read()
serve.shutdown()
ray.shutdown()
