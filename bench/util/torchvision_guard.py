"""A guard against a torchvision whose compiled library does not match the installed torch.

Beside a CPU build of torch, a CUDA build of torchvision cannot load its operators. Importing it
then raises ``operator torchvision::nms does not exist``, and torchmetrics, diffusers and
transformers fail with it because they probe for torchvision. Declaring the two missing operators
lets everything that this project uses (transforms, model definitions, lpips) import and run.
"""

from __future__ import annotations

import importlib.util
import sys

_declared: list[object] = []  # a torch Library withdraws its operators when collected, so keep it


def guard_torchvision() -> bool:
    """Declare torchvision's operators where its own library cannot load.

    Call before anything imports torchvision, directly or not. Does nothing where torchvision is
    absent, already imported, or healthy.

    Returns:
        True if the operators had to be declared.
    """
    if _declared or "torchvision" in sys.modules or importlib.util.find_spec("torchvision") is None:
        return bool(_declared)
    import torch

    try:
        import torchvision  # noqa: F401
    except RuntimeError as error:
        if "torchvision::nms" not in str(error):
            raise
        for module in [
            m for m in sys.modules if m == "torchvision" or m.startswith("torchvision.")
        ]:
            del sys.modules[module]
        library = torch.library.Library("torchvision", "DEF")  # type: ignore[no-untyped-call]
        library.define("nms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")  # type: ignore[no-untyped-call]
        library.define("qnms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")  # type: ignore[no-untyped-call]
        _declared.append(library)
        return True
    return False
