"""What extractors found, judged by exact posteriors: arrays in, every choice in training folds."""

from .judgements import ContrastJudgement, FeatureJudgement, judge_features

__all__ = ["ContrastJudgement", "FeatureJudgement", "judge_features"]
