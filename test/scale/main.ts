/**
 * `npm run measure:scale`: the work on all organizations, against the stand-ins, with a real worker process,
 * PostgreSQL and Temporal. Prints how long each takes and how much memory the worker holds: time is to grow with the
 * number of organizations, memory is not.
 *
 * -- --organizations 1000,2000,…  how many there are at each measurement of synchronisation and sweep
 * -- --books 1000,10000,…         and at each of reconciliation and retention: ten events and three recharges of each
 */
import { parseArgs } from 'node:util';
import { measureBooks } from './books.ts';
import { measureLooking } from './looking.ts';

const { values } = parseArgs({
  options: { organizations: { type: 'string', default: '1000,2500,5000,10000' }, books: { type: 'string', default: '1000,10000' } },
});

function sizesIn(list: string): number[] {
  return list.split(',').filter(Boolean).map(Number);
}

await measureLooking(sizesIn(values.organizations));
for (const size of sizesIn(values.books)) await measureBooks(size);
