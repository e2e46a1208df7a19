/** When short steps are tried within the workflow task, and when they are left to an activity. */
import { describe, expect, test } from '@jest/globals';
import { ShortSteps } from '../../../activities/short-steps.ts';

function scene() {
  let time = 0;
  const steps = new ShortSteps(() => time);
  return {
    pass: (milliseconds: number) => {
      time += milliseconds;
    },
    /** A step that takes so long. */
    take: (milliseconds = 0) =>
      steps.take(async () => {
        time += milliseconds;
        return 'done';
      }),
    steps,
  };
}
const LEFT = { type: 'NoGoodTime', nonRetryable: true };

describe('a short step', () => {
  test('is taken, and answers or fails as itself', async () => {
    const { take, steps } = scene();
    expect(await take(1_000)).toBe('done');
    await expect(steps.take(() => Promise.reject(new Error('its own')))).rejects.toThrow('its own');
    expect(await take()).toBe('done');
  });

  test('is left for ten seconds after one that took more than a second, or failed so', async () => {
    const { take, pass, steps } = scene();
    await take(1_001);
    await expect(take()).rejects.toMatchObject(LEFT);
    pass(9_999);
    await expect(take()).rejects.toMatchObject(LEFT);
    pass(1);
    expect(await take()).toBe('done');
    const slowFailure = async () => {
      pass(1_001);
      throw new Error('its own');
    };
    await expect(steps.take(slowFailure)).rejects.toThrow('its own');
    await expect(take()).rejects.toMatchObject(LEFT);
  });

  test('is left while twenty are under way, without being begun', async () => {
    const { steps } = scene();
    const under = Promise.withResolvers<void>();
    const twenty = Array.from({ length: 20 }, () => steps.take(() => under.promise));
    let begun = false;
    const another = steps.take(async () => {
      begun = true;
    });
    await expect(another).rejects.toMatchObject(LEFT);
    expect(begun).toBe(false);
    under.resolve();
    await Promise.all(twenty);
    await steps.take(async () => {
      begun = true;
    });
    expect(begun).toBe(true);
  });
});
