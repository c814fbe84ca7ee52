"""Planning on its own, without a session: packs and their predicted times, budgets, pictures (docs/planning.md)."""

from navit_edge.planning.plan import CostModel, PackPlan, Plan, PlanLimits, pack, plan, plan_packs, resize

__all__ = ["CostModel", "PackPlan", "Plan", "PlanLimits", "pack", "plan", "plan_packs", "resize"]
