"""The kinds of id, so that a type checker tells them apart."""

from __future__ import annotations

from typing import NewType

AccountId = NewType("AccountId", int)
CampaignId = NewType("CampaignId", int)
ContactId = NewType("ContactId", int)
CallingZoneId = NewType("CallingZoneId", int)
AttemptId = NewType("AttemptId", int)
WorkerId = NewType("WorkerId", int)

CallId = NewType("CallId", str)
"""Ours, made before the provider hears of the call: a UUID in its 36-character text form."""

ProviderCallId = NewType("ProviderCallId", str)
"""The provider's."""
