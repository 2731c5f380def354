"""splitleak: an attack-and-defence benchmark for split training of ControlNet and Stable Diffusion."""

from bench.util.import_path import leave_working_directory

__version__ = "0.1.0"

leave_working_directory()
