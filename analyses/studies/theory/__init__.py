"""Does the claim hold where the theory says so?"""
