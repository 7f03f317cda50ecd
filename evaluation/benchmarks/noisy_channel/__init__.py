"""What a base's scores of the intents are worth: `python -m evaluation.benchmarks.noisy_channel`."""
