"""A Ray cluster on this machine for the tests, a process of its own: ``python ray_cluster.py CPUS...``, a node each.

It prints a line of JSON, {"address": ..., "raylets": [...]}, and again after each number that it reads, a line each: of
a node, which it ends at once, as if its plug was pulled. At the end of its input it ends the cluster. Everything
listens on 127.0.0.1 only, without a dashboard or usage statistics.
"""

from __future__ import annotations

import json
import os
import shutil
import sys
import tempfile
from pathlib import Path

#: Of every process of the cluster, and of the drivers that connect to it: 127.0.0.1 stays 127.0.0.1, and a machine that
#: is short of memory or of disk for other reasons is none of Ray's business.
ENVIRONMENT = {
    "RAY_USAGE_STATS_ENABLED": "0",
    "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "0",
    "RAY_memory_monitor_refresh_ms": "0",
    "RAY_local_fs_capacity_threshold": "1",
}
#: Of the whole cluster. A busy machine is not taken for a dead one.
SYSTEM = {
    "enable_worker_prestart": False,
    "prestart_worker_first_driver": False,
    "health_check_failure_threshold": 100,
}
#: Of each node: results of these tests are small.
STORE_BYTES = 80 << 20


def main() -> None:
    folder = tempfile.mkdtemp(prefix="ne-ray-")  # a short name: sockets lie in it
    os.environ.update(ENVIRONMENT, RAY_TMPDIR=folder)  # Ray's own is made by a plain ray.init() only
    from ray.cluster_utils import Cluster

    cluster = Cluster()
    common = {"node_ip_address": "127.0.0.1", "object_store_memory": STORE_BYTES, "include_log_monitor": False}
    try:
        cluster.add_node(
            num_cpus=0,
            include_dashboard=False,
            wait=False,
            _system_config=SYSTEM,
            **common,
        )
        nodes = [cluster.add_node(num_cpus=int(cpus), wait=False, **common) for cpus in sys.argv[1:]]
        cluster.wait_for_nodes(timeout=600)

        def tell() -> None:
            raylets = [info.process.pid for node in nodes if node for info in node.all_processes["raylet"]]
            print(json.dumps({"address": cluster.address, "raylets": raylets}), flush=True)

        tell()
        for line in sys.stdin:
            cluster.remove_node(nodes[int(line)], allow_graceful=False)
            nodes[int(line)] = None
            tell()
    finally:
        cluster.shutdown()
        shutil.rmtree(Path(folder), ignore_errors=True)


if __name__ == "__main__":
    main()
