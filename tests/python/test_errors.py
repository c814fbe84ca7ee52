"""The error hierarchy and on-demand imports."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from navit_edge import errors


@pytest.mark.parametrize(
    ("kind", "builtin"),
    [
        (errors.InvalidInputError, ValueError),
        (errors.OverBudgetError, ValueError),
        (errors.MissingPackageError, ImportError),
    ],
)
def test_errors_are_also_the_builtin_kind_that_callers_expect(kind: type, builtin: type) -> None:
    assert issubclass(kind, errors.NavitEdgeError)
    assert issubclass(kind, builtin)


def test_a_missing_package_is_named_with_the_command_that_installs_it() -> None:
    with pytest.raises(errors.MissingPackageError) as caught:
        errors.import_or_explain("no_such_package.inner", purpose="dreaming", remedy="pip install dreams")
    assert str(caught.value) == (
        "dreaming needs the package 'no_such_package', which is not installed: pip install dreams"
    )
    assert caught.value.package == "no_such_package"
    assert caught.value.remedy == "pip install dreams"


def test_a_package_that_misses_another_one_is_told_from_one_that_is_missing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "outer_package.py").write_text("import inner_package_that_is_missing\n")
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(errors.MissingPackageError, match="outer_package is installed but needs it") as caught:
        errors.import_or_explain("outer_package", purpose="dreaming", remedy="pip install dreams")
    assert caught.value.package == "inner_package_that_is_missing"


def test_a_package_that_does_not_load_is_a_backend_error_with_its_cause(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "broken_package.py").write_text("raise ImportError('libbroken.so: cannot open shared object file')\n")
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(errors.BackendError, match=r"libbroken\.so"):
        errors.import_or_explain("broken_package", purpose="dreaming", remedy="pip install dreams")


@pytest.mark.parametrize(
    "module", ["navit_edge.bundle.manifest", "navit_edge.bundle", "navit_edge.compile", "navit_edge.cli.main"]
)
def test_importing_loads_no_heavy_package(module: str) -> None:
    heavy = "{'torch', 'onnx', 'openvino', 'tensorrt', 'tensorrt_rtx', 'onnxruntime'}"
    code = f"import sys, {module}; found = {heavy} & set(sys.modules); sys.exit(', '.join(found) or 0)"
    subprocess.run([sys.executable, "-c", code], check=True)
