/**
 * A call of LiteLLM for a person to paste into a shell. The names of the two settings stand for their values, because
 * one of them is a secret.
 */
export function litellmCall(path: string, body: object): string {
  const quoted = JSON.stringify(body).replaceAll("'", `'\\''`);
  return `curl "$KMS_BASE_URL${path}" -H "Authorization: Bearer $KMS_API_KEY" -H "Content-Type: application/json" -d '${quoted}'`;
}
