"""navit-edge: native-resolution vision transformers, from a PyTorch checkpoint to a C++ runtime.

import navit_edge as ne

session = ne.Session("model.navit")
results = session.run(images)
"""

from navit_edge._core import Result, __version__
from navit_edge.bundle.manifest import Manifest
from navit_edge.bundle.manifest import load as load_manifest
from navit_edge.decode import DecodeOptions
from navit_edge.errors import (
    BackendError,
    BundleError,
    CancelledError,
    InvalidInputError,
    MissingPackageError,
    NavitEdgeError,
    OverBudgetError,
    TimedOutError,
)
from navit_edge.future import Future
from navit_edge.pixels import Pixels, to_rgb
from navit_edge.planning import CostModel, Plan, PlanLimits, pack, plan, plan_packs, resize
from navit_edge.policy import Choice, Policy, choose, complexity
from navit_edge.result import Prediction
from navit_edge.session import Session
from navit_edge.streaming import Still, Stream
from navit_edge.text_encoder import TextEncoder, TokenizedTexts
from navit_edge.zero_shot import ZeroShotClassifier

__all__ = [
    "BackendError",
    "BundleError",
    "CancelledError",
    "Choice",
    "CostModel",
    "DecodeOptions",
    "Future",
    "InvalidInputError",
    "Manifest",
    "MissingPackageError",
    "NavitEdgeError",
    "OverBudgetError",
    "Pixels",
    "Plan",
    "PlanLimits",
    "Policy",
    "Prediction",
    "Result",
    "Session",
    "Still",
    "Stream",
    "TextEncoder",
    "TimedOutError",
    "TokenizedTexts",
    "ZeroShotClassifier",
    "__version__",
    "choose",
    "complexity",
    "load_manifest",
    "pack",
    "plan",
    "plan_packs",
    "resize",
    "to_rgb",
]
