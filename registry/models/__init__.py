"""Providers, their keys, the models that clients may ask for, the routes between, and prices."""

from registry.models.base import MODEL_NAME, Capable, Managed, Revision, check_model_name
from registry.models.certifications import Certification, CertifiedTrait
from registry.models.interventions import Intervention
from registry.models.policies import RoutingPolicy
from registry.models.prices import Price, PriceQuerySet
from registry.models.providers import Provider, UpstreamKey
from registry.models.revisions import PreparedChange, RecordedRevision
from registry.models.served import Alias, Route, ServedModel

__all__ = [
    "MODEL_NAME",
    "Alias",
    "Capable",
    "Certification",
    "CertifiedTrait",
    "Intervention",
    "Managed",
    "PreparedChange",
    "Price",
    "PriceQuerySet",
    "Provider",
    "RecordedRevision",
    "Revision",
    "Route",
    "RoutingPolicy",
    "ServedModel",
    "UpstreamKey",
    "check_model_name",
]
