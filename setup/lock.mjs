/** One setup at a time in one clone: `npm test` and `npm start` can be started at the same time. */
import { mkdirSync, readFileSync, renameSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';

const LOCK = fileURLToPath(new URL('../.data/setup.lock', import.meta.url));

/** Longer than any setup takes. After that, the pid in the lock most likely belongs to another program. */
const WAIT_LIMIT_MS = 20 * 60_000;

/** A setup writes its pid right after making the folder. Without a pid for this long, it was killed. */
const UNSIGNED_LIMIT_MS = 5_000;

/** Runs `work` while no other setup runs here. A lock is taken over when its process has ended. */
export async function withLock(work) {
  await take();
  try {
    return await work();
  } finally {
    rmSync(LOCK, { recursive: true, force: true });
  }
}

async function take() {
  mkdirSync(dirname(LOCK), { recursive: true });
  const deadline = Date.now() + WAIT_LIMIT_MS;
  for (let announced = false; ; ) {
    try {
      mkdirSync(LOCK);
      writeFileSync(join(LOCK, 'pid'), String(process.pid));
      return;
    } catch (error) {
      if (error.code !== 'EEXIST') throw error;
    }
    const pid = holder();
    if (isStale(pid)) {
      discard(pid);
      continue;
    }
    if (Date.now() > deadline) throw new Error(`process ${pid} has been in setup for too long: end it, or remove ${LOCK}`);
    if (!announced) console.log(`Another setup is running here (process ${pid}): waiting for it …`);
    announced = true;
    await new Promise((resolve) => setTimeout(resolve, 200));
  }
}

function holder(lock = LOCK) {
  try {
    return Number(readFileSync(join(lock, 'pid'), 'utf8'));
  } catch {
    return 0; // not yet written, or already released
  }
}

function isStale(pid) {
  if (pid === 0) {
    const made = statSync(LOCK, { throwIfNoEntry: false });
    return made !== undefined && Date.now() - made.mtimeMs > UNSIGNED_LIMIT_MS;
  }
  try {
    process.kill(pid, 0);
    return false;
  } catch (error) {
    return error.code === 'ESRCH';
  }
}

/** Renames first: only one of several processes then removes a stale lock, and none removes a newer one. */
function discard(pid) {
  const aside = `${LOCK}.${process.pid}`;
  try {
    renameSync(LOCK, aside);
  } catch (error) {
    if (error.code === 'ENOENT') return;
    throw error;
  }
  if (holder(aside) === pid) rmSync(aside, { recursive: true, force: true });
  else renameSync(aside, LOCK);
}
