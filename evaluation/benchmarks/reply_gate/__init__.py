"""Are drafts given where they are better than stored replies: `python -m evaluation.benchmarks.reply_gate`."""
