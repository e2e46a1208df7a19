/**
 * Loaded into a real `bill worker` before it (`node --import`): it waits minutes for PostgreSQL, not 20 s. So an
 * activity that is held up there outlives the time after which Temporal gives it to another worker.
 */
import { Database } from '../../src/database/database.ts';

const STATEMENT_TIMEOUT_MS = 5 * 60 * 1000;

const open = Database.open;
Database.open = (url, options) => open.call(Database, url, { ...options, statementTimeoutMs: STATEMENT_TIMEOUT_MS });
