"""Do word pairs that differ in one concept differ alike in a language model?"""
