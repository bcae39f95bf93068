"""Segmentation: what training, measuring and comparing mean where every pixel has a class."""
