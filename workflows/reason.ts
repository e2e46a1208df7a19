/** What a failed step says for a person: the activity's own message, not Temporal's "Activity task failed" around it. */
export function reasonOf(error: unknown): string {
  const { cause, message } = error as { cause?: { message?: string }; message?: string };
  return cause?.message ?? message ?? String(error);
}
