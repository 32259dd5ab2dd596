"""The zoo: one generative model per file, plain Pyro. Load one by its file's name."""
