/** What an operator can search and sort workflows by. Never encrypted, so nothing sensitive. */
import { defineSearchAttributeKey, SearchAttributeType } from '@temporalio/common';

export const organizationIdKey = defineSearchAttributeKey('OrganizationId', SearchAttributeType.KEYWORD);
export const teamIdKey = defineSearchAttributeKey('LiteLLMTeamId', SearchAttributeType.KEYWORD);
export const rechargeStatusKey = defineSearchAttributeKey('RechargeStatus', SearchAttributeType.KEYWORD);
export const rechargeSourceKey = defineSearchAttributeKey('RechargeSource', SearchAttributeType.KEYWORD);
export const amountMinorKey = defineSearchAttributeKey('AmountMinor', SearchAttributeType.INT);
