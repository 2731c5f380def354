"""Victims: distributed training pipelines that are attacked."""
