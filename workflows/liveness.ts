/** Activities give a sign of life every two seconds: a worker that died is replaced after this, not after its activity's time. */
export const HEARTBEAT_TIMEOUT = '6 seconds';
