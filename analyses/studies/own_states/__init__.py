"""The analyses of states and posteriors that are already there."""
