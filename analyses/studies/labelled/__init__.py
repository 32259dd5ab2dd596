"""Do states hold the log-posterior of labels of one's own?"""
