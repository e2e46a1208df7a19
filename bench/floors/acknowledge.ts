/**
 * The least that acknowledges an alert durably: express 5, the raw body, its HMAC, one prepared INSERT into a table
 * with one index. It looks nothing up, knows no copy and no team.
 *
 * DATABASE_URL and SECRET in the environment; prints `{"port":…}` when it listens.
 */
import { createHmac, randomUUID, timingSafeEqual } from 'node:crypto';
import type { AddressInfo } from 'node:net';
import express from 'express';
import pg from 'pg';

/** As many connections as the service has. */
const pool = new pg.Pool({ connectionString: process.env['DATABASE_URL'], max: 20 });
await pool.query(
  'create table if not exists floor_event (id uuid primary key, payload jsonb not null, received_at timestamptz default now())',
);
const secret = process.env['SECRET'] ?? '';

const app = express();
app.post('/webhooks/litellm/limit-exceeded', express.raw({ type: 'application/json' }), async (request, response) => {
  const { 'webhook-id': id, 'webhook-timestamp': at, 'webhook-signature': signature } = request.headers;
  const expected = Buffer.from(`v1,${createHmac('sha256', secret).update(`${id}.${at}.`).update(request.body).digest('base64')}`);
  const given = Buffer.from(String(signature));
  if (given.length !== expected.length || !timingSafeEqual(given, expected)) {
    response.status(401).end();
    return;
  }
  const eventId = randomUUID();
  await pool.query({
    name: 'insert',
    text: 'insert into floor_event (id, payload) values ($1, $2)',
    values: [eventId, request.body.toString()],
  });
  response.json({ event_id: eventId, status: 'accepted' });
});

const server = app.listen(0, '127.0.0.1', () => console.log(JSON.stringify({ port: (server.address() as AddressInfo).port })));
