"""Studies: analyses, models and language models put together to answer a whole question."""
