/** Objects of one kind by id, listed newest first and by cursor, as Stripe lists them. */
import { resourceMissing } from './errors.ts';
import type { Page } from './parameters.ts';

export type List<T> = { object: 'list'; url: string; has_more: boolean; data: T[] };

export class Collection<T extends { id: string }> {
  private readonly byId = new Map<string, T>();
  private readonly resource: string;
  private readonly limit: number;

  /**
   * @param resource its name in Stripe's messages.
   * @param limit keep this many, dropping the oldest. Money objects have none: a charge is never forgotten.
   */
  constructor(resource: string, limit = Infinity) {
    this.resource = resource;
    this.limit = limit;
  }

  add(object: T): T {
    this.byId.set(object.id, object);
    if (this.byId.size > this.limit) {
      for (const oldest of this.byId.keys()) {
        this.byId.delete(oldest);
        break;
      }
    }
    return object;
  }

  find(id: string): T | undefined {
    return this.byId.get(id);
  }

  /** The object that a path names. @throws {StripeError} 404 */
  get(id: string, param = 'id'): T {
    const object = this.byId.get(id);
    if (!object) throw resourceMissing(404, this.resource, id, param);
    return object;
  }

  /** The object that a parameter names. @throws {StripeError} 400 */
  refer(id: string, param: string): T {
    const object = this.byId.get(id);
    if (!object) throw resourceMissing(400, this.resource, id, param);
    return object;
  }

  remove(id: string): void {
    this.byId.delete(id);
  }

  all(): T[] {
    return [...this.byId.values()];
  }

  load(objects: T[]): void {
    for (const object of objects) this.add(object);
  }

  list(url: string, page: Page, matches: (object: T) => boolean): List<T> {
    const newestFirst = this.all().reverse();
    if (page.ending_before !== undefined) {
      const before = newestFirst.slice(0, this.positionOf(page.ending_before, 'ending_before', newestFirst)).filter(matches);
      return { object: 'list', url, has_more: before.length > page.limit, data: before.slice(-page.limit) };
    }
    const start = page.starting_after === undefined ? 0 : this.positionOf(page.starting_after, 'starting_after', newestFirst) + 1;
    const after = newestFirst.slice(start).filter(matches);
    return { object: 'list', url, has_more: after.length > page.limit, data: after.slice(0, page.limit) };
  }

  private positionOf(id: string, param: string, newestFirst: T[]): number {
    return newestFirst.indexOf(this.refer(id, param));
  }
}
