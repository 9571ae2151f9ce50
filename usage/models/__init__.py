"""What was used, what it adds up to, and what people are told of it."""

from usage.models.alerts import Alert, Delivery, Webhook
from usage.models.decisions import Decision
from usage.models.exports import AsOf, Export, ReportDefinition
from usage.models.records import (
    FAILED,
    Dimensions,
    TeamTag,
    UsageAdjustment,
    UsageAttempt,
    UsageRecord,
    UsageRecordQuerySet,
)
from usage.models.rerating import RerateRun
from usage.models.rollups import (
    DailyTagUsage,
    DailyUsage,
    HourlyAttempts,
    HourlyTagUsage,
    HourlyUsage,
    Measures,
    Reconciliation,
    RollupMark,
    StaleHour,
)
from usage.models.spooled import PurgeReceipt, QuarantinedRecord, SpoolCursor

__all__ = [
    "FAILED",
    "Alert",
    "AsOf",
    "DailyTagUsage",
    "DailyUsage",
    "Decision",
    "Delivery",
    "Dimensions",
    "Export",
    "HourlyAttempts",
    "HourlyTagUsage",
    "HourlyUsage",
    "Measures",
    "PurgeReceipt",
    "QuarantinedRecord",
    "Reconciliation",
    "ReportDefinition",
    "RerateRun",
    "RollupMark",
    "SpoolCursor",
    "StaleHour",
    "TeamTag",
    "UsageAdjustment",
    "UsageAttempt",
    "UsageRecord",
    "UsageRecordQuerySet",
    "Webhook",
]
