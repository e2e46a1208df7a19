/**
 * The safeguards of the money path that the simulation has to miss: each with what takes it out of the
 * source.
 */

/** A safeguard, and the edits of the source that take it out. */
export type Mutation = { safeguard: string; edits: [file: string, from: string, to: string][] };

export const MUTATIONS: readonly Mutation[] = [
  {
    safeguard: 'unique index: one open event of a crossing',
    edits: [
      [
        'src/database/migrations/0001-organizations-inbox-recharges-ledger.ts',
        'create unique index webhook_event_one_open_per_crossing',
        'create index webhook_event_one_open_per_crossing',
      ],
    ],
  },
  {
    safeguard: 'unique index: one open recharge of an organization, and the look for one under its lock',
    edits: [
      [
        'src/database/migrations/0001-organizations-inbox-recharges-ledger.ts',
        'create unique index recharge_one_open_per_organization',
        'create index recharge_one_open_per_organization',
      ],
      ['src/domain/policy.ts', "  if (history.hasOpenRecharge) return refuse('recharge_open');\n", ''],
    ],
  },
  {
    safeguard: 'the stored intent is read before anything is charged again',
    edits: [
      [
        'activities/recharge/charge-stripe.ts',
        `        const intent = await payments.readIntent(intentIdOf(recharge));
        if (intent.outcome.kind === 'captured') await noteLostRefund(em, payments, recharge);
        return recordOutcome(tools, recharge, intent);`,
        `        const found = await payments.chooseCard(recharge.stripeCustomerId);
        if (found.kind !== 'found') throw new Error('no card');
        const order = { ...recharge, keysSpent: recharge.keysSpent + Math.floor(Math.random() * 1e6) };
        const intent = await payments.createIntent(order, { paymentMethodId: found.card.id, installation: await installationId(em) });
        await em.execute('update recharge set payment_intent_id = ? where id = ?', [intent.id, recharge.id]);
        return recordOutcome(tools, await recharges.get(em, recharge.id), intent);`,
      ],
    ],
  },
  {
    safeguard: 'the budget is read back after it was written',
    edits: [['activities/budget-write.ts', '    live = (await kms.teamBudget(teamId)).quota;', '    live = after;']],
  },
  {
    safeguard: 'the budgets before and after are stored before the write',
    edits: [
      [
        'activities/recharge/update-kms-quota.ts',
        '        ...planned,',
        '        ...planned,\n        before: live,\n        after: (live + recharge.quotaGranted) as typeof live,',
      ],
    ],
  },
  {
    safeguard: 'the non-cancellable scope around everything after the charge',
    edits: [
      [
        'workflows/recharge.ts',
        '  return CancellationScope.nonCancellable(async () => {\n    const settle =',
        '  return CancellationScope.cancellable(async () => {\n    const settle =',
      ],
    ],
  },
  {
    safeguard: 'a refund that Stripe knows already is taken over',
    edits: [
      [
        'activities/recharge/refund-charge.ts',
        'await refundsOf({ em, payments }, recharge, { intentId: recharge.paymentIntentId, lookedAt })',
        '[await (refundsOf, lookedAt, payments.refund(recharge, { intentId: recharge.paymentIntentId }))]',
      ],
      [
        'src/payments/client.ts',
        '{ idempotencyKey: idempotencyKey(recharge, what)',
        '{ idempotencyKey: Math.random() + idempotencyKey(recharge, what)',
      ],
    ],
  },
  {
    safeguard: 'a status moves, and its transfer is entered, only from the status before',
    edits: [
      ['src/database/recharges.ts', 'if (moved === 1 && transfer)', 'if (transfer)'],
      [
        'activities/recharge/record-recharge.ts',
        "    if (recharge.status !== 'charging' && recharge.status !== 'processing') return;\n",
        '',
      ],
    ],
  },
  {
    safeguard: "the look at holds under the reservation's lock",
    edits: [
      [
        'src/domain/policy.ts',
        "  const [hold] = history.holds;\n  if (hold) return { kind: 'refuse', refusal: 'held', hold, balance };\n",
        '',
      ],
    ],
  },
  {
    safeguard: 'the look at holds before the confirm',
    edits: [['src/database/card-attempts.ts', "    if (hold) return { kind: 'held', hold };\n", '']],
  },
  {
    safeguard: 'one attempt on a card at a time, whoever pays with it',
    edits: [
      [
        'src/database/card-attempts.ts',
        "    await tx.execute('select pg_advisory_xact_lock(hashtextextended(?, 0))', [card.fingerprint]);\n",
        '',
      ],
      ['src/database/card-attempts.ts', "    if (other) return { kind: 'busy', rechargeId: other.id };\n", ''],
    ],
  },
  {
    safeguard: 'failed attempts are counted by the card, whoever pays with it',
    edits: [
      [
        'src/database/card-attempts.ts',
        '(select count(*)::integer from card_attempt where fingerprint = ?',
        '(select count(*)::integer from card_attempt where organization_id = ?',
      ],
      [
        'src/database/card-attempts.ts',
        '[fingerprint, fingerprint, organizationId, organizationId,',
        '[organizationId, fingerprint, organizationId, organizationId,',
      ],
    ],
  },
  {
    safeguard: 'while no raise is proven, one recharge goes first',
    edits: [['src/database/reservations.ts', "    if (!(await isTurn(tx))) return { kind: 'not_its_turn' };\n", '']],
  },
  {
    safeguard: 'a refused raise opens a hold before the refund',
    edits: [
      [
        'activities/recharge/update-kms-quota.ts',
        '      if (error instanceof BudgetRefusedError) await holdRefused(em, recharge, error);\n',
        '',
      ],
    ],
  },
  {
    safeguard: 'a charge above max_charge waits for a person, and the look at the limits before the confirm',
    edits: [
      ['src/domain/policy.ts', '  if (needed > maxCharge) return', '  if (needed > Number.MAX_VALUE) return'],
      [
        'activities/recharge/last-look.ts',
        '  return withinLimits(policy, await paidBy(em, organization.id, { except: recharge.id }), recharge.amountMinor);',
        '  return withinLimits(policy, await paidBy(em, organization.id, { except: recharge.id }), 0 as typeof recharge.amountMinor);',
      ],
    ],
  },
  {
    safeguard: 'a budget that somebody has lowered opens a hold',
    edits: [
      ['activities/recharge/check-limits.ts', '      await holdIfLowered(em, organization, { shown: budget.quota, expected });\n', ''],
    ],
  },
  {
    safeguard: 'an outbound event is stored in the transaction of its move',
    edits: [
      [
        'src/database/recharges.ts',
        'if (moved === 1) await tellStatus(tx, current);',
        "if (moved === 1 && to !== 'succeeded') await tellStatus(tx, current);",
      ],
      [
        'activities/recharge/update-kms-quota.ts',
        "import * as recharges from '../../src/database/recharges.ts';",
        "import { tellStatus } from '../../src/database/recharge-events.ts';\nimport * as recharges from '../../src/database/recharges.ts';",
      ],
      [
        'activities/recharge/update-kms-quota.ts',
        '    countClosed({ log, metrics }',
        '    await tellStatus(em, succeeded);\n    countClosed({ log, metrics }',
      ],
    ],
  },
  {
    safeguard: 'attempts of a day are counted',
    edits: [
      ['src/domain/policy.ts', "  if (history.attemptsToday >= policy.maxDailyRecharges) return refuse('daily_limit_reached');\n", ''],
    ],
  },
  {
    safeguard: 'a balance from before another recharge is read again, by the version and by the last raise',
    edits: [
      ['src/database/reservations.ts', "    if (organization.version !== seenVersion) return { kind: 'stale' };\n", ''],
      ['activities/recharge/check-limits.ts', '      await requireFresh(em, organization, budget);\n', ''],
    ],
  },
  {
    safeguard: 'the look at the setting before the confirm',
    edits: [
      [
        'activities/recharge/last-look.ts',
        "  if (recharge.source !== 'manual' && !organization.autoRechargeEnabled) return refused('auto_recharge_disabled');\n",
        '',
      ],
    ],
  },
  {
    safeguard: 'a payment that the database has lost is looked for before a charge',
    edits: [
      [
        'activities/recharge/charge-stripe.ts',
        'const lost = await lostPayment({ em, payments }, recharge, { newest, installation });',
        'const lost = undefined as Awaited<ReturnType<typeof lostPayment>> | typeof newest.intents[number];',
      ],
    ],
  },
  {
    safeguard: 'a raise that LiteLLM shows counts for one recharge',
    edits: [['activities/recharge/update-kms-quota.ts', '      await requireOwnStep(em, recharge, live);\n', '']],
  },
  {
    safeguard: 'what Stripe has captured is what the recharge is of',
    edits: [
      ['src/database/recharges.ts', '      ...(captured && { amountMinor: captured, quotaGranted: quotaFor(captured, recharge) }),\n', ''],
    ],
  },
  {
    safeguard: 'a refund waits while a write of the budget may take effect, and looks at the budget',
    edits: [
      [
        'activities/recharge/refund-charge.ts',
        '    const raised = await raisedQuota(em, kms, recharge);',
        '    const raised = (raisedQuota, undefined);',
      ],
    ],
  },
  {
    safeguard: "one writer of a team's budget at a time",
    edits: [['src/database/budgets.ts', ' and coalesce(holder, writer.id) = writer.id returning', ' returning']],
  },
  {
    safeguard: 'a recharge that was decided before a reversal starts from the budget after it',
    edits: [['src/database/reversals.ts', "    if (from !== 'needs_attention') await shiftPlans(tx, reversal, to);\n", '']],
  },
  {
    safeguard: 'never more quota is taken back than was granted',
    edits: [['src/domain/reversal.ts', "  return status !== 'given_back' && quota > 0;", "  return status === 'given_back' && quota < 0;"]],
  },
  {
    safeguard: 'the quota that is given back is what was taken',
    edits: [
      [
        'src/domain/reversal-budget.ts',
        "  if (direction === 'give') return quotaMicros(live + takenBy(reversal));",
        "  if (direction === 'give') return quotaMicros(live + reversal.quota);",
      ],
    ],
  },
  {
    safeguard: 'a write of the budget for money that went back is noted at Stripe before it is sent',
    edits: [
      [
        'activities/reversal/change-budget.ts',
        'await payments.rememberWrite(intentId, { reversalId, direction }, write)',
        'await Promise.resolve(payments)',
      ],
    ],
  },
  {
    safeguard: 'money that goes back holds the organization',
    edits: [['src/database/reversals.ts', '      else await hold(tx, recharge, opened);\n', '']],
  },
  {
    safeguard: 'a synchronisation writes no budget',
    edits: [
      [
        'src/teams/drift-actions.ts',
        '  rename: ({ kms }, { organization }) => kms.renameTeam(organization.litellmTeamId, organization.name),',
        `  rename: async ({ kms }, { organization: { litellmTeamId, name } }) => {
    const { quota } = await kms.teamBudget(litellmTeamId);
    await kms.renameTeam(litellmTeamId, name);
    if (quota !== null) await kms.setTeamBudget(litellmTeamId, quota);
  },`,
      ],
    ],
  },
];
