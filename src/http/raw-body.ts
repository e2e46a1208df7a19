/** The bytes of a request's body as they came: the signature is over them. */
import type { RequestHandler } from 'express';
import { Problem } from './problem.ts';

/**
 * A sender that still sends after its answer is cut off this much later: one that is nearly done can read the
 * answer.
 */
const LINGER_MS = 1_000;

/**
 * Puts the body into `request.body`, a Buffer. A body over `limit` bytes is answered 413 at the first byte
 * too many: express.raw would read it to its end first, and an endless one has none. A compressed body is
 * refused: it could unpack to any size.
 */
export function rawBody(limit: number): RequestHandler {
  return (request, _response, next) => {
    if ((request.headers['content-encoding'] ?? 'identity').toLowerCase() !== 'identity') {
      throw new Problem('unsupported-media-type', 'the body is compressed: send it as it is');
    }
    // Made when it is needed: the stack of an error costs 3 µs.
    const tooLarge = () => new Problem('too-large', `the body is over ${limit} bytes`);
    if (Number(request.headers['content-length'] ?? 0) > limit) throw tooLarge();

    let chunks: Buffer[] = [];
    let size = 0;
    request.on('data', (chunk: Buffer) => {
      const wasWithin = size <= limit;
      size += chunk.length;
      if (size <= limit) {
        chunks.push(chunk);
      } else if (wasWithin) {
        chunks = [];
        next(tooLarge());
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

/** Closes the connection of a sender that still sends after it was answered. */
export const cutOffAfterAnswer: RequestHandler = (request, response, next) => {
  response.once('finish', () => {
    if (request.complete) return;
    const cut = setTimeout(() => request.socket.destroy(), LINGER_MS);
    request.once('close', () => clearTimeout(cut));
  });
  next();
};
