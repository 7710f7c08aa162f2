"""Closed-loop parts: policies that choose stimulation, what keeps them safe, and experiments."""

from probneuro.control.adaptive import AdaptivePolicy, Choice, Policy, Trial
from probneuro.control.baselines import MiSO, NoStimulation, RandomPattern, Static
from probneuro.control.bayesian import BayesianBilinear
from probneuro.control.experiment import Experiment, ExperimentLog, Rig, SimulatedRig, replay
from probneuro.control.inverse_network import InverseNetwork
from probneuro.control.inverse_policy import ExactInverse, InversePolicy
from probneuro.control.model_store import ModelStore
from probneuro.control.patterns import PatternSet
from probneuro.control.readout import Readout
from probneuro.control.response_cache import ResponseCache
from probneuro.control.safety import SafeOutput, SafetyLimits, SafetyState, make_safe

__all__ = [
    "AdaptivePolicy",
    "BayesianBilinear",
    "Choice",
    "ExactInverse",
    "Experiment",
    "ExperimentLog",
    "InverseNetwork",
    "InversePolicy",
    "MiSO",
    "ModelStore",
    "NoStimulation",
    "PatternSet",
    "Policy",
    "RandomPattern",
    "Readout",
    "ResponseCache",
    "Rig",
    "SafeOutput",
    "SafetyLimits",
    "SafetyState",
    "SimulatedRig",
    "Static",
    "Trial",
    "make_safe",
    "replay",
]
