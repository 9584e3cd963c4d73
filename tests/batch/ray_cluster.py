"""A Ray cluster of two CPUs on this machine, until stdin ends: a process for test_ray_engine.py.

Takes the folder for Ray's files, whose sockets need a short path; prints the cluster's address.
"""

import sys

import ray

ray.init(
    address="local",
    num_cpus=2,
    object_store_memory=100 * 2**20,
    include_dashboard=False,
    _temp_dir=sys.argv[1],
)
print(ray.get_runtime_context().gcs_address, flush=True)
sys.stdin.read()
ray.shutdown()
