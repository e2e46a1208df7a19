/** Which database a command reads, in words that hold no password. */
import { readConnectionUrl } from '../database/connection-url.ts';
import { type Known, type Place, placeOf } from './places.ts';

/** @throws ConnectionUrlError when the address cannot be used. */
export function databasePlace(address: string, known?: Known): Place {
  readConnectionUrl(address);
  return placeOf('DATABASE_URL', address, shown, known);
}

function shown(address: string): string {
  try {
    const { database, host, port } = readConnectionUrl(address);
    return `${database} at ${host}:${port}`;
  } catch {
    return 'an address that cannot be read'; // Of the other service: its own certificates, say, are not ours to judge.
  }
}
