/** One exchange of a stand-in: the request that it reads and the answer that it gives. */

export type SandboxRequest = {
  method: string;
  /** Without the query string. */
  path: string;
  query: URLSearchParams;
  /** Names in lower case; a repeated header is joined with ", ". */
  headers: Record<string, string>;
  /** The body as UTF-8 text; empty when there is none. */
  body: string;
  /**
   * What the request is about and does not say itself, such as whose intent it names; faults may be aimed at
   * it.
   */
  about?: string | undefined;
};

export type Answer = {
  status: number;
  headers?: Record<string, string>;
  /** A string is sent as it is, anything else as JSON. */
  body: unknown;
};
