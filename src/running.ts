/** A part of the service that runs until it is stopped: what is under way ends first. */
export type Running = { stop: () => Promise<void> };
