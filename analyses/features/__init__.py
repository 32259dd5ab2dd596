"""What extractors found, judged by exact posteriors: arrays in, every choice in training folds."""

from .dci_scores import Dci, dci
from .judgements import ContrastJudgement, FeatureJudgement, judge_features
from .matchings import FeatureMatching, match_features
from .proxies import ProxyRanking, rank_proxies
from .reconstructions import Reconstruction, reconstruction

__all__ = [
    "ContrastJudgement",
    "Dci",
    "FeatureJudgement",
    "FeatureMatching",
    "ProxyRanking",
    "Reconstruction",
    "dci",
    "judge_features",
    "match_features",
    "rank_proxies",
    "reconstruction",
]
