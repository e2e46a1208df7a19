/** Secret keys. Any test key opens the account, until it is revoked. */
import { StripeError } from './errors.ts';

const TEST_KEY = /^[sr]k_test_/;
/** A key that was revoked long ago, for a demo without the knob. */
const REVOKED_KEY = /^[sr]k_test_revoked/;

export class SecretKeys {
  revoked = new Set<string>();

  /** @throws {StripeError} 401 without a key, with one that is none, or with a revoked one. */
  authenticate(authorization: string | undefined): void {
    const key = keyIn(authorization);
    if (!key) {
      throw unauthorized(
        "You did not provide an API key. You need to provide your API key in the Authorization header, using Bearer auth (e.g. 'Authorization: Bearer YOUR_SECRET_KEY').",
      );
    }
    if (!TEST_KEY.test(key)) throw unauthorized(`Invalid API Key provided: ${mask(key)}`);
    if (REVOKED_KEY.test(key) || this.revoked.has(key)) throw unauthorized(`Expired API Key provided: ${mask(key)}`, 'api_key_expired');
  }
}

function keyIn(authorization = ''): string | undefined {
  const [scheme = '', credentials = ''] = authorization.split(' ', 2);
  if (scheme.toLowerCase() === 'bearer') return credentials;
  if (scheme.toLowerCase() === 'basic') return Buffer.from(credentials, 'base64').toString('utf8').split(':')[0];
  return undefined;
}

function mask(key: string): string {
  return `${key.slice(0, 8)}${'*'.repeat(Math.max(0, key.length - 12))}${key.slice(8).slice(-4)}`;
}

function unauthorized(message: string, code?: string): StripeError {
  return new StripeError(401, { type: 'invalid_request_error', message, ...(code && { code }) }, false);
}
