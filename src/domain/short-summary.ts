/**
 * Temporal's limit of the payload that a summary is, in bytes: some servers hold it, and a workflow task with a longer one
 * fails again and again.
 */
export const SUMMARY_LIMIT_BYTES = 400;

/** Of the text. The rest is for what a payload has beside it. */
const MAX_TEXT_BYTES = 300;

/** The text as a summary: of a longer one its beginning, cut between two characters. */
export function shortSummary(text: string): string {
  let bytes = 0;
  let length = 0;
  for (const character of text) {
    bytes += bytesInJson(character);
    if (bytes > MAX_TEXT_BYTES) return `${text.slice(0, length)}…`;
    length += character.length;
  }
  return text;
}

/** In UTF-8, or as JSON escapes it. */
function bytesInJson(character: string): number {
  const code = character.codePointAt(0) ?? 0;
  const bytes = code < 0x80 ? 1 : code < 0x8_00 ? 2 : code < 0x1_00_00 ? 3 : 4;
  return Math.max(bytes, JSON.stringify(character).length - '""'.length);
}
