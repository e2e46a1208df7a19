/** The bytes of a request's body as they came: what a signature is over. */
import type { RequestHandler } from 'express';
import { Problem } from './problem.ts';

/** A sender that goes on after its answer is cut off this much later: time for one that is nearly done to read what it was told. */
const LINGER_MS = 1_000;

/**
 * Puts the body into `request.body`, a Buffer. One over `limit` bytes is answered 413 when the first byte too many arrives:
 * express.raw would read it to its end before, and an endless one has none. A compressed body, which could unpack to
 * anything, is not read.
 */
export function rawBody(limit: number): RequestHandler {
  return (request, _response, next) => {
    if ((request.headers['content-encoding'] ?? 'identity').toLowerCase() !== 'identity') {
      throw new Problem('unsupported-media-type', 'the body is compressed: send it as it is');
    }
    const tooLarge = new Problem('too-large', `the body is over ${limit} bytes`);
    if (Number(request.headers['content-length'] ?? 0) > limit) throw tooLarge;

    let chunks: Buffer[] = [];
    let size = 0;
    request.on('data', (chunk: Buffer) => {
      const wasWithin = size <= limit;
      size += chunk.length;
      if (size <= limit) {
        chunks.push(chunk);
      } else if (wasWithin) {
        chunks = [];
        next(tooLarge);
      }
    });
    request.once('error', () => next(new Problem('malformed', 'the body ended early')));
    request.once('end', () => {
      if (size > limit) return;
      request.body = Buffer.concat(chunks);
      next();
    });
  };
}

/** Ends the connection of a sender that was answered and does not stop sending. */
export const cutOffAfterAnswer: RequestHandler = (request, response, next) => {
  response.once('finish', () => {
    if (request.complete) return;
    const cut = setTimeout(() => request.socket.destroy(), LINGER_MS);
    request.once('close', () => clearTimeout(cut));
  });
  next();
};
