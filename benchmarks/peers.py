"""What other libraries say of the same contexts, each asked in the fastest way that it documents.

Every function prepares a peer once, outside of the clock, and returns a function from contexts,
shape (n_contexts, n_tokens), to marginals: concept name to p(concept | x), shape (n_contexts, K).
"""

import math
import warnings
from collections.abc import Callable, Iterator

import torch
from programs import ChainTables, chain_in_plates
from pyro.infer import TraceEnum_ELBO, config_enumerate
from torch import Tensor
from torch.nn.functional import embedding_bag, log_softmax, one_hot

from concept_ppl.programs.factors import FactorGraph

Marginals = dict[str, Tensor]
Answerer = Callable[[Tensor], Marginals]


def pyro_marginals(tables: ChainTables) -> Answerer:
    """Return ``TraceEnum_ELBO.compute_marginals`` on the chain (https://docs.pyro.ai)."""
    program = config_enumerate(chain_in_plates(tables))
    elbo = TraceEnum_ELBO(max_plate_nesting=2)

    def answer(contexts: Tensor) -> Marginals:
        with torch.no_grad():
            found = elbo.compute_marginals(program, lambda _: None, contexts)
            logits = {name: site.logits.flatten(1) for name, site in found.items()}
            return {name: table.softmax(1) for name, table in logits.items()}

    return answer


def hand_written(tables: ChainTables, dtype: torch.dtype, device: torch.device) -> Answerer:
    """Return what one would write in torch for this one model: marginals, nothing else."""
    n_concepts = len(tables.links)
    joint = torch.cartesian_prod(*[torch.arange(2)] * n_concepts)
    log_prior = tables.root.double().log_softmax(0)[joint[:, 0]]
    links = tables.links.double().log_softmax(-1)
    for i in range(1, n_concepts):
        log_prior = log_prior + links[i, joint[:, i - 1], joint[:, i]]
    rows = tables.tokens.double().log_softmax(-1).flatten(0, -2).T.contiguous()
    rows, log_prior = rows.to(device, dtype), log_prior.to(device, dtype)
    indicator = one_hot(joint, 2).flatten(1).to(device, dtype)

    def answer(contexts: Tensor) -> Marginals:
        likelihood = embedding_bag(contexts.to(device), rows, mode="sum")
        log_joint = log_softmax(likelihood + log_prior, 1)
        log_marginals = (log_joint.exp() @ indicator).log()
        return {
            f"c_{i}": table for i, table in enumerate(log_marginals.unflatten(1, (-1, 2)).unbind(1))
        }

    return answer


def in_probabilities(answer: Answerer) -> Answerer:
    """Exponentiate the marginals, for comparisons."""
    return lambda contexts: {name: table.exp() for name, table in answer(contexts).items()}


def pgmpy_elimination(graph: FactorGraph) -> Answerer:
    """Return ``VariableElimination.query``, one for all concepts of a context (https://pgmpy.org)."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        from pgmpy.factors.discrete import TabularCPD  # noqa: PLC0415
        from pgmpy.inference import VariableElimination  # noqa: PLC0415
        from pgmpy.models import DiscreteBayesianNetwork  # noqa: PLC0415
    network = DiscreteBayesianNetwork()
    for site, parents, table in _conditionals(graph):
        network.add_node(site)
        network.add_edges_from([(parent, site) for parent in parents])
        columns = table.reshape(-1, table.shape[-1]).T.numpy()
        sizes = list(table.shape[:-1]) or None
        network.add_cpds(TabularCPD(site, len(columns), columns, list(parents) or None, sizes))
    network.check_model()
    inference = VariableElimination(network)
    names = list(graph.concepts)
    return _one_by_one(
        lambda evidence: inference.query(names, evidence, joint=False, show_progress=False)
    )


def pgmpy_messages(graph: FactorGraph) -> Answerer:
    """Return ``BeliefPropagationWithMessagePassing``: exact on trees, faster than elimination."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        from pgmpy.factors.discrete import DiscreteFactor  # noqa: PLC0415
        from pgmpy.inference import BeliefPropagationWithMessagePassing  # noqa: PLC0415
        from pgmpy.models import FactorGraph as PgmpyGraph  # noqa: PLC0415
    network = PgmpyGraph()
    for site, parents, table in _conditionals(graph):
        factor = DiscreteFactor([*parents, site], table.shape, table.numpy())
        network.add_node(site)
        network.add_factors(factor)
        network.add_edges_from([(name, factor) for name in factor.variables])
    inference = BeliefPropagationWithMessagePassing(network)
    names = list(graph.concepts)
    return _one_by_one(lambda evidence: inference.query(names, evidence))


def pomegranate_propagation(graph: FactorGraph) -> Answerer:
    """Return ``BayesianNetwork.predict_proba``: loopy belief propagation, all contexts at once."""
    from pomegranate.bayesian_network import BayesianNetwork  # noqa: PLC0415
    from pomegranate.distributions import Categorical, ConditionalCategorical  # noqa: PLC0415

    nodes, edges = {}, []
    for site, parents, table in _conditionals(graph):
        kind = ConditionalCategorical if parents else Categorical
        nodes[site] = kind([table.float()] if parents else table.float().unsqueeze(0))
        edges += [(nodes[parent], nodes[site]) for parent in parents]
    network = BayesianNetwork(list(nodes.values()), edges)
    names = list(graph.concepts)

    def answer(contexts: Tensor) -> Marginals:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # torch calls its masked tensors a prototype
            unknown = torch.zeros(len(contexts), len(names), dtype=torch.long)
            values = torch.cat([unknown, contexts], 1)
            is_known = torch.arange(values.shape[1]) >= len(names)
            masked = torch.masked.MaskedTensor(values, is_known.expand_as(values).contiguous())
            return dict(zip(names, network.predict_proba(masked), strict=False))

    return answer


def _conditionals(graph: FactorGraph) -> Iterator[tuple[str, tuple[str, ...], Tensor]]:
    """Yield site, parents and probabilities, the site's own values last: concepts, then tokens."""
    for factor in graph.priors:
        yield factor.site, factor.scope[:-1], factor.table.exp()
    for emission in graph.emissions:
        for t in range(emission.start, emission.stop):
            place = t - emission.start if emission.tokens.varies else 0
            yield f"x_{t}", emission.scope, emission.tokens.table[place].exp()


def _one_by_one(query: Callable[[dict[str, int]], dict[str, object]]) -> Answerer:
    """Ask for each context in turn: pgmpy has no batches."""

    def answer(contexts: Tensor) -> Marginals:
        found = [
            query({f"x_{t}": token for t, token in enumerate(row)}) for row in contexts.tolist()
        ]
        return {
            name: torch.stack([torch.as_tensor(each[name].values) for each in found])
            for name in found[0]
        }

    return answer


def largest_difference(one: Marginals, other: Marginals) -> float:
    """Return the largest |Δp| over contexts, concepts and values; NaN counts as infinite."""
    differences = [
        (table.double().cpu() - other[name].double().cpu()).abs().max().item()
        for name, table in one.items()
    ]
    return math.inf if any(math.isnan(d) for d in differences) else max(differences)
