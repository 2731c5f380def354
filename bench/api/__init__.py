"""The functions of ``import bench``, for notebooks and scripts.

``bench`` itself hands them on: write ``bench.run(...)``, not ``bench.api.grid.run(...)``.
"""
