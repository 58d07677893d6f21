"""What a cluster that autoscales has besides Kubernetes: for each program the objects it needs and how it is started.

Each module has `objects(...)`, applied before its processes start, and `process(...)` or `processes(...)`. The programs
are given as links below `<directory>/bin/`; they run beside the control plane, not in pods, and listen on loopback.
"""
