/**
 * The bytes that sign a webhook: Standard Webhooks writes them as base64 after `whsec_`; any other secret is
 * its UTF-8 bytes.
 */
export function webhookKey(secret: string): Buffer {
  return secret.startsWith('whsec_') ? Buffer.from(secret.slice('whsec_'.length), 'base64') : Buffer.from(secret);
}
