"""Planning on its own, without a session: packs and their predicted times, budgets, pictures (docs/planning.md)."""

from navit_edge.planning.plan import (
    Attention,
    CostModel,
    Filter,
    PackPlan,
    Plan,
    PlanLimits,
    Strategy,
    budget_tuples,
    pack,
    plan,
    plan_packs,
    resize,
)

__all__ = [
    "Attention",
    "CostModel",
    "Filter",
    "PackPlan",
    "Plan",
    "PlanLimits",
    "Strategy",
    "budget_tuples",
    "pack",
    "plan",
    "plan_packs",
    "resize",
]
