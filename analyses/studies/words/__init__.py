"""Does a mixture fitted to unlabelled words find their languages?"""
