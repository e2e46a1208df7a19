/** Shows that something long goes on: seconds counted on one line of a terminal, a line now and then elsewhere. */

/** How often a log that is not a terminal gets a line. */
const LINE_EVERY_S = 5;

/** Awaits `work`, which may take minutes. Its failure is passed on after the line is ended. */
export async function withProgress(title, work) {
  const terminal = process.stdout.isTTY;
  const started = Date.now();
  const seconds = () => Math.round((Date.now() - started) / 1000);
  const show = () => {
    if (terminal) process.stdout.write(`\r${title} … ${seconds()} s`);
    else if (seconds() % LINE_EVERY_S === 0) console.log(`${title} … ${seconds()} s`);
  };
  if (!terminal) console.log(`${title} …`);
  const timer = setInterval(show, 1000);
  const end = (how) => console.log(terminal ? `\r${title}: ${how} after ${seconds()} s` : `${title}: ${how} after ${seconds()} s`);
  try {
    const result = await work;
    end('done');
    return result;
  } catch (error) {
    end('failed');
    throw error;
  } finally {
    clearInterval(timer);
  }
}
