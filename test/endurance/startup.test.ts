/** A process starts only on tables that it can work with; where it cannot know yet, it looks until it can. */
import { afterAll, afterEach, beforeAll, describe, expect, test } from '@jest/globals';
import { createDatabase } from '../support/databases.ts';
import { Processes, runBill } from '../support/processes.ts';
import { startProxy } from '../support/proxy.ts';
import { World } from '../support/world.ts';

let world: World;
let emptyUrl: string;
const processes = new Processes();
beforeAll(async () => {
  world = await World.create();
  emptyUrl = await createDatabase(`${world.name}_empty`);
});
afterEach(async () => {
  await world.sql.query(`delete from bill_migration where name like '0%-of-a-test'`);
});
afterAll(async () => {
  await processes.killAll();
  await world.close();
});

const newer = (name: string) => world.sql.query('insert into bill_migration (name) values ($1)', [name]);

describe.each(['serve', 'worker'] as const)('bill %s', (command) => {
  const env = (overrides = {}) => ({ ...world.env, PORT: '0', ...overrides });

  test('ends with 78 on a database that is not migrated, and names the command', async () => {
    const ended = await runBill([command], env({ DATABASE_URL: emptyUrl }));
    expect([ended.code, ended.err]).toEqual([78, expect.stringContaining('run bill migrate')]);
  });

  test('starts on tables that a newer version has migrated', async () => {
    await newer('0999-of-a-test');
    const started = await processes.start(command, world, { PORT: '0' });
    expect(started.lines.join()).toContain('0999-of-a-test');
    expect(await started.terminate()).toBe(0);
  });

  test('ends with 78 on newer tables that say in their name that it cannot work with them', async () => {
    await newer('0999-breaking-of-a-test');
    const ended = await runBill([command], env());
    expect([ended.code, ended.err]).toEqual([78, expect.stringContaining('start the newer version')]);
  });
});

test('bill serve starts while the database is unavailable, and ends with 78 when that turns out not to be migrated', async () => {
  const url = new URL(emptyUrl);
  const proxy = await startProxy(url.host);
  url.host = proxy.address;
  proxy.hold();
  const started = await processes.start('serve', world, { PORT: '0', DATABASE_URL: url.href });
  const ended = new Promise((resolve) => started.process.once('exit', resolve));
  proxy.release();
  expect(await ended).toBe(78);
  expect(started.lines.join()).toContain('run bill migrate');
  proxy.cut();
});
