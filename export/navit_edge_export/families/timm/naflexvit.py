"""timm's ``NaFlexVit`` (``timm.models.naflexvit``), every registered variant and what its ``NaFlexVitCfg`` can say.

Positions: learned and resampled, learned row plus column, none; rotary: axial, per layer ("mixed"), DINOv3's, and
multimodal RoPE for images. Class token and registers; pooling by mean, maximum, both, class token, attention.

config.json is timm's: ``architecture`` names a variant, ``model_args`` change it, ``pretrained_cfg`` holds what its
transforms need. What training needs (dropout, initialization) is not read.
"""

from __future__ import annotations

from navit_edge_export.families.timm.config import NAME, NaFlexVitConfig, read_config, read_preprocessing
from navit_edge_export.families.timm.model import make_model
from navit_edge_export.families.timm.names import state_map

__all__ = ["NAME", "NaFlexVitConfig", "make_model", "read_config", "read_preprocessing", "state_map"]
