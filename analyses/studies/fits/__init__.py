"""Is a fit good: its accuracy, its parameters, and data like those that it saw?"""
