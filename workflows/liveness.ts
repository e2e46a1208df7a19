/**
 * Activities heartbeat every 5 s (`activities/interceptor.ts`), so a busy worker, network or Temporal has 15 s before
 * a live attempt counts as dead and a second one runs beside it. A dead worker's attempt is retried after this.
 */
export const HEARTBEAT_TIMEOUT = '20 seconds';
