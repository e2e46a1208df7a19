import { createHash, timingSafeEqual } from 'node:crypto';
import type { RequestHandler } from 'express';
import { Problem } from './problem.ts';

/**
 * Refuses requests without `Authorization: Bearer <the admin key>`. Digests are compared, so time tells
 * neither length nor content.
 */
export function requireAdminKey(adminApiKey: string): RequestHandler {
  const expected = digest(adminApiKey);
  return (request, _response, next) => {
    const key = /^Bearer (.+)$/i.exec(request.headers.authorization ?? '')?.[1];
    if (key === undefined || !timingSafeEqual(digest(key), expected)) {
      throw new Problem('unauthenticated', 'send an admin key as "Authorization: Bearer <key>"');
    }
    next();
  };
}

function digest(text: string): Buffer {
  return createHash('sha256').update(text).digest();
}
