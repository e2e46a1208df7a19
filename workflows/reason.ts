/** The message of a failed step: the activity's own, not Temporal's "Activity task failed" around it. */
export function reasonOf(error: unknown): string {
  const { cause, message } = error as { cause?: { message?: string }; message?: string };
  return cause?.message ?? message ?? String(error);
}
