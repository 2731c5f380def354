"""splitleak: an attack-and-defence benchmark for split training of ControlNet and Stable Diffusion."""

__version__ = "0.1.0"
