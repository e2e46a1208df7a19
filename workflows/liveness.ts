/**
 * Activities heartbeat every 2 s (`activities/interceptor.ts`). A dead worker's attempt is retried after
 * this.
 */
export const HEARTBEAT_TIMEOUT = '6 seconds';
