/** When an outage of LiteLLM is one item's failure, and when it ends the activity. */
import { describe, expect, jest, test } from '@jest/globals';
import type { Organization } from '../../../src/database/entities.ts';
import { KmsError, type KmsErrorKind } from '../../../src/kms/errors.ts';
import { beginSettling, lookUp, type SettlerDependencies } from '../../../src/teams/drift-settler.ts';

const organization = { id: 'acme', litellmTeamId: 'team-acme' } as Organization;
const run = { runId: 'syn_1', dryRun: false, organizationIds: null };
const TEAM = { teamId: 'team-acme' };

/** What LiteLLM answers to one look-up after the other: a team, or a failure. */
function settlingAgainst(answers: (KmsErrorKind | 'team' | Error)[], { isReady }: { isReady: boolean }) {
  const ping = jest.fn(async () => {
    if (!isReady) throw new KmsError('unavailable', 'LiteLLM has lost its database');
    return 1;
  });
  const team = async () => {
    const answer = answers.shift() ?? 'team';
    if (answer === 'team') return { team: TEAM };
    throw answer instanceof Error ? answer : new KmsError(answer, `LiteLLM says ${answer}`);
  };
  const dependencies = { database: {}, kms: { ping, team }, log: { warn: () => undefined } } as unknown as SettlerDependencies;
  const settling = beginSettling(dependencies, run);
  return { look: () => lookUp(settling, organization), ping };
}

describe('a look-up', () => {
  test('finds the team, finds none, or cannot say', async () => {
    const { look } = settlingAgainst(['team', 'not_found', 'forbidden'], { isReady: true });
    expect(await look()).toEqual({ kind: 'found', team: TEAM });
    expect(await look()).toEqual({ kind: 'absent' });
    expect(await look()).toEqual({ kind: 'unknown', reason: 'LiteLLM says forbidden' });
  });

  test.each(['unavailable', 'unknown_outcome', 'unauthenticated'] as const)(
    'fails alone four times when LiteLLM is %s, and the fifth time for all when LiteLLM is not ready',
    async (outage) => {
      const { look, ping } = settlingAgainst(Array(5).fill(outage), { isReady: false });
      for (let time = 1; time <= 4; time++) expect((await look()).kind).toBe('unknown');
      expect(ping).not.toHaveBeenCalled();
      await expect(look()).rejects.toMatchObject({ kind: outage });
    },
  );

  test('fails alone for as long as LiteLLM says that it is ready, which is asked every fifth time', async () => {
    const { look, ping } = settlingAgainst(Array(11).fill('unavailable'), { isReady: true });
    for (let time = 1; time <= 11; time++) expect((await look()).kind).toBe('unknown');
    expect(ping).toHaveBeenCalledTimes(2);
  });

  test('that succeeds ends the row of outages; one that is refused does not count', async () => {
    const four: KmsErrorKind[] = Array(4).fill('unavailable');
    const { look, ping } = settlingAgainst([...four, 'team', ...four, ...Array(5).fill('forbidden')], { isReady: false });
    for (let time = 1; time <= 14; time++) await look();
    expect(ping).not.toHaveBeenCalled();
  });

  test('passes on what no item is to blame for', async () => {
    const { look } = settlingAgainst([new TypeError('a mistake of ours')], { isReady: true });
    await expect(look()).rejects.toThrow('a mistake of ours');
  });
});
