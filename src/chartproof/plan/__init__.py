"""What a release needs and costs before anything runs: memory fit, concurrency, cold start, price.

All figures come from the catalog; what is an estimate there is an estimate here.
"""

from chartproof.plan.cold_start import ColdStart, Phase, cold_start
from chartproof.plan.fit import Fit, memory_fit
from chartproof.plan.workload_plan import WorkloadPlan, plan_release, plan_workload

__all__ = [
    "ColdStart",
    "Fit",
    "Phase",
    "WorkloadPlan",
    "cold_start",
    "memory_fit",
    "plan_release",
    "plan_workload",
]
