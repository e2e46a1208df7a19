/** Progress of a run that somebody waits for, on the other stream: results alone go to the first one. */

/** So often a line is said again that has not changed: a command that waits is not dead. */
const AGAIN_MS = 10_000;

/** Prints a line on the other stream, and none with `--json`. */
export function unlessJson({ json = false }: { json?: boolean }): (line: string) => void {
  return json ? () => {} : (line) => console.error(line);
}

/**
 * @param say prints a line; nothing is said with `--json`.
 * @returns to be called with each look: what has been done, and what the run fails with meanwhile.
 */
export function progress(
  { json = false }: { json?: boolean },
  say: (line: string) => void = console.error,
): (done: string, trouble?: string | null, now?: number) => void {
  let [said, at] = ['', 0];
  return (done, trouble, now = Date.now()) => {
    const line = `${done}${trouble ? `; ${trouble}` : ''} …`;
    if (json || (line === said && now - at < AGAIN_MS)) return;
    [said, at] = [line, now];
    say(line);
  };
}
