"""Planning on its own, without a session: packs and their predicted times, budgets, pictures (docs/planning.md)."""

from navit_edge.planning.plan import (
    CostModel as CostModel,
)
from navit_edge.planning.plan import (
    PackPlan as PackPlan,
)
from navit_edge.planning.plan import (
    Plan as Plan,
)
from navit_edge.planning.plan import (
    PlanLimits as PlanLimits,
)
from navit_edge.planning.plan import (
    budget_tuples as budget_tuples,
)
from navit_edge.planning.plan import (
    pack as pack,
)
from navit_edge.planning.plan import (
    plan as plan,
)
from navit_edge.planning.plan import (
    plan_packs as plan_packs,
)
from navit_edge.planning.plan import (
    resize as resize,
)
