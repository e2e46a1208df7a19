/** Shows that long work is running: a counter on one line of a terminal, else a line every few seconds. */

/** Seconds between two lines when the output is not a terminal. */
const LINE_EVERY_S = 5;

/** Awaits `work`, which can take minutes. Its error is thrown again after the line has ended. */
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
