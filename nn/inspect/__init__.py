"""Looking at finished models: gradient checks, explanations, traces, summaries, ensembles."""
