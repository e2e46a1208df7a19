/** Which installation of the service this database belongs to. */
import type { EntityManager } from './database.ts';

/** The id that marks our objects at Stripe; others in the same account have another one, or none. */
export async function installationId(em: EntityManager): Promise<string> {
  const [row] = await em.execute<{ id: string }[]>('select id from installation');
  if (!row) throw new Error('table installation is empty: bill migrate fills it');
  return row.id;
}
