"""What studies of language models share: states read, analysed, compared and shown."""
