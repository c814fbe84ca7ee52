"""The text tower as files of a bundle: ``text/text.onnx``, ``text/weights.bin``, ``text/tokenizer.json``."""

from __future__ import annotations

from pathlib import Path

import onnx
import onnx_ir as ir
import torch

from navit_edge.bundle import manifest as manifests
from navit_edge_export.graph_export import OPSET, TRANSLATIONS, quiet, tidy
from navit_edge_export.graph_file import save_graph
from navit_edge_export.text.tower import ImportedText, TextTower
from navit_edge_export.weights_file import WeightsFile

FOLDER = "text"
OUTPUT = "embedding"


def write_text(staging: Path, text: ImportedText) -> manifests.TextTower:
    """Writes the files below ``staging``; returns the manifest's entry."""
    (staging / FOLDER).mkdir()
    file, tokenizer = f"{FOLDER}/text.onnx", f"{FOLDER}/tokenizer.json"
    parameters = {name for name, _ in text.tower.named_parameters()}
    with WeightsFile(staging / FOLDER / "weights.bin") as weights:
        exported = export_text(text.tower, masks_padding=text.masks_padding)
        weights.move_out(exported.graph, parameters)
        inputs, outputs = save_graph(exported, staging / file)
    onnx.checker.check_model(staging / file)
    (staging / tokenizer).write_bytes(text.tokenizer)
    return manifests.TextTower(
        file=file,
        opset=OPSET,
        inputs=inputs,
        outputs=outputs,
        tokenizer=tokenizer,
        logit_scale=text.logit_scale,
        logit_bias=text.logit_bias,
    )


def export_text(tower: TextTower, *, masks_padding: bool) -> ir.Model:
    """The graph, weights inside: input_ids int32 [N, S], and attention_mask int32 [N, S] if padding is masked, ->
    embedding [N, E]; N is dynamic."""
    ids = torch.zeros(2, tower.config.tokens, dtype=torch.int32)
    sample = {"input_ids": ids} | ({"attention_mask": torch.ones_like(ids)} if masks_padding else {})
    texts = torch.export.Dim("N")
    with quiet(), torch.no_grad():
        program = torch.onnx.export(
            tower.eval(),
            kwargs=sample,
            dynamic_shapes={name: {0: texts} for name in sample},
            output_names=[OUTPUT],
            opset_version=OPSET,
            dynamo=True,
            custom_translation_table=TRANSLATIONS,
            verbose=False,
        )
    if program is None:
        raise RuntimeError("torch.onnx.export returned nothing; this is a bug in the exporter")
    model = program.model
    tidy(model, [OUTPUT])
    return model
