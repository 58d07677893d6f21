"""Prove what a Helm chart that serves language models would deploy, before a GPU is paid for."""

__version__ = "0.1.0"
