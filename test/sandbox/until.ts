/** Far longer than what a stand-in does takes. */
const LIMIT_MS = 60_000;
const LOOK_MS = 10;

/** Waits until `look` returns true. @throws after a minute, naming `what`. */
export async function until(look: () => boolean | Promise<boolean>, what: string): Promise<void> {
  for (const deadline = Date.now() + LIMIT_MS; !(await look()); ) {
    if (Date.now() > deadline) throw new Error(`not within ${LIMIT_MS / 1000} s: ${what}`);
    await new Promise((resolve) => setTimeout(resolve, LOOK_MS));
  }
}
