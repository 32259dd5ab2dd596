"""The same exactness tests, answered on a GPU."""

import math
from functools import partial

import pytest
import torch

from concept_ppl.inference.posteriors import posterior
from concept_ppl.programs.tracing import compile_model

from ..support.comparison import assert_log_close
from . import test_dense, test_elimination, test_posteriors, test_queries, test_sequences

pytestmark = [
    pytest.mark.cuda,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device"),
]

SAME_TESTS = [
    test_posteriors.test_both_engines_give_the_posterior_of_any_static_program,
    test_posteriors.test_partial_evidence_and_prefixes_of_static_programs,
    test_posteriors.test_concepts_that_move_are_filtered_and_smoothed_exactly,
    test_posteriors.test_what_is_known_of_a_position_changes_the_others,
    test_posteriors.test_concepts_in_the_position_plate_have_a_value_at_each_position,
    test_posteriors.test_members_of_a_plate_are_concepts_of_their_own,
    test_posteriors.test_chunks_and_repeated_contexts_change_nothing,
    test_posteriors.test_float32_keeps_five_digits,
    test_posteriors.test_a_concept_behind_the_evidence_is_right_in_the_tails,
    test_posteriors.test_impossible_contexts_are_named_by_row_or_marked,
    test_sequences.test_a_thousand_positions_agree_with_an_independent_forward_backward_pass,
    test_sequences.test_a_value_at_minus_two_thousand_nats_stays_there_in_both_precisions,
    test_sequences.test_two_steps_of_memory,
    test_sequences.test_a_concept_that_depends_on_the_last_state,
    test_elimination.test_a_chain_of_sixty_concepts_agrees_with_belief_propagation,
    test_elimination.test_a_tree_of_sixty_concepts_agrees_with_belief_propagation,
    test_queries.test_the_next_token_is_predicted_exactly,
    test_queries.test_the_next_token_of_the_context_is_a_ratio_of_evidences,
    test_queries.test_the_joint_maximum_is_that_of_the_joint,
]


@pytest.mark.parametrize("test", SAME_TESTS, ids=lambda test: test.__name__.removeprefix("test_"))
def test_as_on_the_cpu(test, monkeypatch):
    for module in (test_dense, test_elimination, test_posteriors, test_queries, test_sequences):
        for name in ("posterior", "compile_model", "predictive"):
            if hasattr(module, name):
                there = partial(getattr(module, name), device="cuda")
                monkeypatch.setattr(module, name, there)
    test()


def test_answers_stay_on_the_device_and_agree_with_the_cpu():
    model, contexts = test_posteriors.coin(), [[0, 1, 1], [1], []]
    there = posterior(model, contexts, device="cuda")
    assert there.log_marginals["a"].device.type == "cuda"
    assert_log_close(there.log_marginals["a"], posterior(model, contexts).log_marginals["a"], 1e-12)
    assert compile_model(model, 3, device="cuda").device.type == "cuda"
    assert math.isclose(float(there.log_evidence[2]), 0.0, abs_tol=1e-15)
