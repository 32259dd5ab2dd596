"""Does a language model know the language of what it reads?"""
