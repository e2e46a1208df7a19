/**
 * How our Node is started for the API and a worker. Its young generation is of 4 MiB rather than 16 a half: three halves
 * of it in each thread are half of what a process holds that does little. The image has the same in NODE_OPTIONS.
 */
export const NODE_FLAGS = ['--max-semi-space-size=4'];
