"""One word per thing: the dimensions, groups and attributes of every result."""

from typing import Final

# Dimensions.
CHAIN: Final = "chain"
DRAW: Final = "draw"
NEURON: Final = "neuron"
SYNAPSE: Final = "synapse"
BASIS: Final = "basis"
CHANNEL: Final = "channel"
WINDOW: Final = "window"
TIME: Final = "time"
LAG: Final = "lag"
BLOCK: Final = "block"
RULE_GROUP: Final = "rule_group"
KERNEL: Final = "kernel"
PAIR_LAG: Final = "pair_lag"
TRIAL: Final = "trial"
HORIZON: Final = "horizon"
FEATURE: Final = "feature"
REGRESSOR: Final = "regressor"
PATTERN: Final = "pattern"
LEVEL: Final = "level"

# Coordinates that ride on `synapse`.
PRE: Final = "pre"
POST: Final = "post"

# Groups of a result, as in the InferenceData schema, and our additions, `held_out`, `lfo`
# and `max_entropy`.
POSTERIOR: Final = "posterior"
SAMPLE_STATS: Final = "sample_stats"
LOG_LIKELIHOOD: Final = "log_likelihood"
LOG_PRIOR: Final = "log_prior"
POSTERIOR_PREDICTIVE: Final = "posterior_predictive"
PRIOR: Final = "prior"
PRIOR_PREDICTIVE: Final = "prior_predictive"
PREDICTIONS: Final = "predictions"
PREDICTIONS_CONSTANT_DATA: Final = "predictions_constant_data"
PARAMETERS: Final = "parameters"
OBSERVED_DATA: Final = "observed_data"
CONSTANT_DATA: Final = "constant_data"
HELD_OUT: Final = "held_out"
LFO: Final = "lfo"
MAX_ENTROPY: Final = "max_entropy"
TRUTH: Final = "truth"
WARMUP_PREFIX: Final = "warmup_"


def synapse_name(pre: str, post: str) -> str:
    """Name a directed synapse.

    Parameters
    ----------
    pre, post : str
        Names of the presynaptic and the postsynaptic neuron.

    Returns
    -------
    str
        The label used on the ``synapse`` dimension.

    Examples
    --------
    >>> synapse_name("a", "b")
    'a->b'
    """
    return f"{pre}->{post}"
