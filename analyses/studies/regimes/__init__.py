"""Where does the claim stop to hold?"""
