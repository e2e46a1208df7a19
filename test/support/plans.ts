/** What PostgreSQL's planner may choose with other statistics. */

const OFF = ['hashjoin', 'mergejoin', 'hashagg', 'material', 'sort', 'memoize'];

/** An address of the database where subqueries are run once for each row, as a plan may do at any time. */
export function withoutMaterialPlans(databaseUrl: string): string {
  const url = new URL(databaseUrl);
  url.searchParams.set('options', OFF.map((plan) => `-c enable_${plan}=off`).join(' '));
  return url.href;
}
