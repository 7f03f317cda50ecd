"""Judges methods and results; never imported by retrieval, finetune or run.py."""
