/** Pages of LiteLLM's lists. */

/** LiteLLM refuses larger pages. */
export const MAX_PAGE_SIZE = 100;

export type PageRequest = {
  /** From 1 on. */
  page: number;
  /** At most MAX_PAGE_SIZE. */
  pageSize: number;
};
